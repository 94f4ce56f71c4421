"""The blocks of an option file and what each key means: the one source of checks, JSON schema and options/README.md.

``default`` is what holds where a key is not given. What depends on ``type`` and ``model_type`` is joined in
:mod:`wnet_arch.options.schema`; the blocks of ``train`` are in :mod:`wnet_arch.options.training`. Annotations are evaluated,
by Python 3.9 too, and written for it.
"""

from typing import Annotated, Any, ClassVar, Optional

from pydantic import BaseModel, ConfigDict, Field

from wnet_arch.data.degradation import KERNELS, Degradation
from wnet_arch.data.jitter import FrameJitter
from wnet_arch.options.kinds import (
    Angle,
    Count,
    CountOrZero,
    Devices,
    Flag,
    FolderName,
    Names,
    Numbers,
    Portion,
    Positive,
    Text,
    choice,
    choices,
    interval,
    whole,
)  # fmt: skip

DEGRADED = Degradation()
JITTERED = FrameJitter()


class Block(BaseModel):
    """A block of keys; others are errors.

    Class attributes:
        owner: what reads it, for messages.
        unknown_hint: what to say of keys that are not options.
    """

    model_config = ConfigDict(extra="forbid", strict=True, protected_namespaces=(), arbitrary_types_allowed=True)
    owner: ClassVar[str] = ""
    unknown_hint: ClassVar[str] = ""


class OpenBlock(Block):
    """A block that may have keys which nobody here knows."""

    model_config = ConfigDict(extra="allow")


class Named(OpenBlock):
    """What builds a class: `type` names it, the other keys are its arguments."""

    type: Text = Field(description="name in the framework's registry")


# --- data sets --------------------------------------------------------------------------------------------------------


class Dataset(Block):
    """What the framework reads of a data set, whatever its type."""

    name: FolderName = Field(description="name in logs and folders")
    type: Text = Field(description="a registered data set")
    batch_size_per_gpu: Optional[Count] = Field(None, description="images of an iteration and process; training needs it")
    num_worker_per_gpu: Optional[CountOrZero] = Field(
        None,
        description="processes that load images, 0: the training's own; where not given, 1, for each GPU as many as there are "
        "processors, 8 at most",
    )
    dataset_enlarge_ratio: Optional[Positive] = Field(
        1, description="length of an epoch, as a multiple of the data set; a part of it is another one in each epoch"
    )
    prefetch_mode: Optional[Annotated[str, choice("cpu", "cuda")]] = Field(
        None, description="fetch batches ahead; `cuda` needs `pin_memory`"
    )
    num_prefetch_queue: Count = Field(1, description="batches ahead with `prefetch_mode: cpu`")
    pin_memory: Optional[Flag] = Field(
        None, description="batches in memory that a GPU copies faster, and without waiting; where not given, on GPUs"
    )
    persistent_workers: Optional[Flag] = Field(
        None, description="keep the loading processes between epochs, in training; where not given, if there are any"
    )
    use_shuffle: Optional[Flag] = Field(None, description="not read: training always shuffles, validation never")


class DegradationBlock(Block):
    """How LR faces are made worse than reduced ones: for networks that are to restore photos from life."""

    owner: ClassVar[str] = "PairedFaceParsingDataset"
    clean: Portion = Field(DEGRADED.clean, description="share that is only reduced, by the bicubic filter")
    same_size: Portion = Field(DEGRADED.same_size, description="share of faces that are as large in the photo as the LR image")
    photo_side: Annotated[list, interval(0.25, 4)] = Field(
        list(DEGRADED.photo_side),
        description="side of the other faces in the photo by that of the LR image, which is resampled from it",
    )
    kernels: Annotated[list, choices(*KERNELS)] = Field(list(DEGRADED.kernels), description="filters of the reduction, drawn from")
    blur: Portion = Field(DEGRADED.blur, description="share that is blurred before it is reduced")
    blur_sigma: Annotated[list, interval(0.01, 10)] = Field(
        list(DEGRADED.blur_sigma), description="of a Gaussian, in pixels of the photo"
    )
    blur_motion: Portion = Field(DEGRADED.blur_motion, description="share of the blurs that are a line, not a Gaussian")
    blur_isotropic: Portion = Field(DEGRADED.blur_isotropic, description="share of the others that are round, not ellipses")
    motion_length: Annotated[list, interval(0.1, 32)] = Field(
        list(DEGRADED.motion_length), description="of that line, in pixels of the photo"
    )
    noise: Portion = Field(DEGRADED.noise, description="share with noise")
    noise_sigma: Annotated[list, interval(0, 100)] = Field(
        list(DEGRADED.noise_sigma), description="of Gaussian noise, in grey levels of 255"
    )
    noise_poisson: Portion = Field(DEGRADED.noise_poisson, description="share of the noises that grow with light")
    poisson_scale: Annotated[list, interval(0, 10)] = Field(
        list(DEGRADED.poisson_scale), description="times the noise of 255 photons"
    )
    noise_grey: Portion = Field(DEGRADED.noise_grey, description="share of the noises that are equal in all channels")
    jpeg: Portion = Field(DEGRADED.jpeg, description="share that is compressed with the photo around it")
    jpeg_quality: Annotated[list, interval(1, 100, whole=True)] = Field(
        list(DEGRADED.jpeg_quality), description="of Pillow's encoder"
    )
    jpeg_twice: Portion = Field(DEGRADED.jpeg_twice, description="share of those that are compressed a second time")
    jpeg_half_colour: Portion = Field(DEGRADED.jpeg_half_colour, description="share of those with 4:2:0, else 4:4:4")
    grey: Portion = Field(DEGRADED.grey, description="share of photos in black and white, HR and LR alike")
    tint: Portion = Field(DEGRADED.tint, description="share of photos with another gamma and cast, HR and LR alike")
    gamma: Annotated[list, interval(0.2, 5)] = Field(list(DEGRADED.gamma), description="exponent of brightness")
    cast: Portion = Field(DEGRADED.cast, description="channels are stronger or weaker by up to this")


class JitterBlock(Block):
    """How far the frames of faces are moved: for networks whose faces come from a detector, or are cropped by another rule."""

    owner: ClassVar[str] = "PairedFaceParsingDataset"
    share: Portion = Field(JITTERED.share, description="of the images whose frame is moved")
    scale: Annotated[list, interval(0.5, 2)] = Field(list(JITTERED.scale), description="side of the moved frame by the set's")
    shift: Portion = Field(JITTERED.shift, description="of the centre along each axis, up to this share of the side")
    rotation: Angle = Field(JITTERED.rotation, description="largest turn in degrees, either way")


class FaceDataset(Dataset):
    """`PairedFaceParsingDataset`: LR face, HR face, parsing map."""

    dataroot: Optional[Names] = Field(None, description="a set made by `wnet prepare`, or several; or give `dataroot_gt`")
    dataroot_gt: Optional[Text] = Field(None, description="folder of HR images")
    dataroot_lq: Optional[Text] = Field(None, description="folder of LR images of the same names; made from HR if not given")
    dataroot_parsing: Optional[Text] = Field(None, description="folder of label maps of the same names; unknown if not given")
    use_hflip: Optional[Flag] = Field(False, description="mirror at random in training")
    degradation: Optional[DegradationBlock] = Field(None, description="LR faces as photos from life have them; `{}`: the defaults")
    jitter: Optional[JitterBlock] = Field(
        None, description="frames a little off their place, `{}`: the defaults; needs `wnet prepare --surround`"
    )
    landmarks: Optional[Flag] = Field(False, description="give the 68 landmarks, too; needs `wnet prepare --landmarks`")
    cache: Optional[Flag] = Field(
        None,
        description="keep decoded images in memory, shared by the workers: 64 KiB a face, about 240 with `jitter`; if not given, "
        "in training on GPUs, if a quarter of the memory is enough",
    )


class ImageStore(Block):
    """Where the framework's data sets read images from."""

    type: Annotated[str, choice("disk", "lmdb", "memcached")] = Field(description="kind of store")
    readonly: Flag = Field(True, description="lmdb: open for reading only")
    lock: Flag = Field(False, description="lmdb: lock while reading")
    readahead: Flag = Field(False, description="lmdb: let the system read ahead")
    server_list_cfg: Optional[Text] = Field(None, description="memcached: file with the servers")
    client_cfg: Optional[Text] = Field(None, description="memcached: file of the client")
    sys_path: Optional[Text] = Field(None, description="memcached: folder of its Python module")


class LQDataset(Dataset):
    """`SingleImageDataset`: LR images alone, for `basicsr test`."""

    dataroot_lq: Text = Field(description="folder or LMDB of LR images")
    io_backend: ImageStore = Field(description="where images are read from")
    meta_info_file: Optional[Text] = Field(None, description="text file that lists the images to use")
    mean: Optional[Numbers] = Field(None, description="subtracted from R, G, B in [0, 1]")
    std: Optional[Numbers] = Field(None, description="R, G, B are divided by")
    color: Optional[Annotated[str, choice("y", "rgb")]] = Field(None, description="`y`: luminance alone")


class PairedDataset(LQDataset):
    """`PairedImageDataset`: HR and LR images."""

    dataroot_gt: Text = Field(description="folder or LMDB of HR images")
    filename_tmpl: Text = Field("{}", description="name of the LR image; `{}` is that of the HR image")
    gt_size: Optional[Count] = Field(None, description="side of the HR patches; training needs it")
    use_hflip: Optional[Flag] = Field(None, description="mirror at random; training needs it")
    use_rot: Optional[Flag] = Field(None, description="turn by 90 degrees at random; training needs it")


# --- validation, logs, paths ------------------------------------------------------------------------------------------


class MetricBlock(Named):
    """A metric under a name of your own; its other keys are arguments of its function."""

    type: Text = Field(description="a registered metric, such as `calculate_psnr`")
    better: Annotated[str, choice("higher", "lower")] = Field("higher", description="which values are better")
    crop_border: CountOrZero = Field(0, description="the framework's metrics need it: pixels left out at each border")
    test_y_channel: Flag = Field(False, description="the framework's metrics: compare luminance alone")
    input_order: Annotated[str, choice("HWC", "CHW")] = Field(
        "HWC", description="the framework's metrics: how images lie in memory"
    )


class Val(Block):
    """Validation, in training and by `basicsr test`."""

    val_freq: Optional[Count] = Field(None, description="iterations from one validation to the next; training needs it")
    save_img: Flag = Field(False, description="write the images, too")
    pbar: Optional[Flag] = Field(False, description="show progress")
    suffix: Optional[FolderName] = Field(None, description="in names of written images, for that of the run")
    metrics: Optional[dict[str, MetricBlock]] = Field(None, description="metrics by names of your own; `~`: none")


class EngineVal(Val):
    """`val`, models of this package."""

    batch: Optional[Count] = Field(
        None, description="images of one size that are predicted together; where not given, 8 on GPUs and 1 on CPUs"
    )
    keep_best: Optional[Text] = Field(
        None, description="name of a metric: the network best in it on the first set is kept as `net_g_best.pth`"
    )


class Wandb(Block):
    """Weights & Biases, fed from TensorBoard."""

    project: Optional[Text] = Field(None, description="name of the project; `~`: not used")
    resume_id: Optional[Text] = Field(None, description="id of a run to be continued")


class Logger(Block):
    """What a training reports and saves."""

    print_freq: Count = Field(description="iterations from one log line to the next")
    save_checkpoint_freq: Count = Field(description="iterations after which networks and training state are saved")
    use_tb_logger: Flag = Field(description="write for TensorBoard, into `tb_logger/NAME`")
    wandb: Optional[Wandb] = Field(None, description="Weights & Biases")
    progress: Flag = Field(True, description="a progress bar, where the output is a terminal")


class EngineLogger(Logger):
    """`logger`, models of this package."""

    save_checkpoint_minutes: Optional[Positive] = Field(
        None, description="minutes after which networks and training state are saved, too"
    )
    keep_last: Optional[Count] = Field(None, description="checkpoints that stay; all where not given")
    sheet: CountOrZero = Field(4, description="faces on the validation sheet in TensorBoard; 0: none")


class Paths(Block):
    """Files that a run starts from. For other networks `network_X` there are `pretrain_network_X` and so on."""

    unknown_hint = " is not an option: the framework would make a folder of that name"

    pretrain_network_g: Optional[Text] = Field(
        None, description="weights to start from: `.pth`, `.safetensors`, or the name of a network that ships, as `wnet_lite_x8`"
    )
    strict_load_g: Flag = Field(True, description="demand all weights; `false`: load what fits")
    param_key_g: Optional[Text] = Field("params", description="which weights of the file: `params`, or `params_ema`, the average")
    pretrain_network_d: Optional[Text] = Field(None, description="the same for the discriminator")
    strict_load_d: Flag = Field(True, description="the same for the discriminator")
    param_key_d: Optional[Text] = Field("params", description="the same for the discriminator")
    resume_state: Optional[Text] = Field(None, description="state to continue from; `--auto_resume` finds the newest by itself")
    ignore_resume_networks: Optional[Names] = Field(None, description="networks, as `network_d`, not to be loaded when continuing")


class Distributed(Block):
    """Several processes."""

    backend: Annotated[str, choice("auto", "nccl", "gloo")] = Field("auto", description="`auto`: nccl on GPUs, gloo on CPUs")
    port: Annotated[int, whole(1, 65535)] = Field(
        29500, description="where the processes meet, under Slurm; for torchrun, see its `--master-port`"
    )
    timeout: Positive = Field(10, description="minutes a process waits for the others")


# --- the whole file ---------------------------------------------------------------------------------------------------


class Options(Block):
    """Every run."""

    name: FolderName = Field(description="of the run: its folder in `experiments/` or `results/`")
    model_type: Text = Field(description="a registered model: what is trained, with which losses")
    scale: Count = Field(description="factor of enlargement; networks of this package: 4 or 8, W-Net also 2 and 1")
    num_gpu: Devices = Field("auto", description="GPUs of a process; `auto`: all there are, `0`: CPU")
    manual_seed: Optional[Annotated[int, whole(0, 2**32 - 1001)]] = Field(
        None, description="of all random numbers; drawn where not given"
    )
    datasets: dict[str, Any] = Field(
        description="blocks `train`, `val`, `val_1`, ...; for `basicsr test`: `test`, `test_1`, ... or `val`"
    )
    network_g: Named = Field(description="the network: `type`, and arguments of its class")
    path: Paths = Field(Paths.model_validate({}), description="files to start from")
    train: Optional[Any] = Field(None, description="the training; needed by `basicsr train`")
    val: Optional[Val] = Field(None, description="the validation; `~`: none in training")
    logger: Optional[Logger] = Field(None, description="reports and checkpoints; needed by `basicsr train`")
    dist_params: Distributed = Field(Distributed.model_validate({}), description="several processes")
    find_unused_parameters: Flag = Field(
        False, description="let DistributedDataParallel look for weights without a gradient; costs time"
    )


class AdversarialOptions(Options):
    """Models with a discriminator, too."""

    network_d: Optional[Named] = Field(None, description="the discriminator: `type`, and arguments of its class")
