"""The block ``train``: what each model reads of it, optimizers and learning rates."""

from typing import Annotated, ClassVar, Optional

from pydantic import Field

from wnet_arch.options.blocks import Block, Named, OpenBlock
from wnet_arch.options.kinds import (
    Count,
    CountOrZero,
    Counts,
    CountsOrZero,
    Flag,
    FlagOrAuto,
    Integer,
    Names,
    NotNegative,
    Positive,
    PositiveNumbers,
    Share,
    Text,
    choice,
    whole,
)  # fmt: skip


class Loss(Named):
    """A loss; its other keys are arguments of its class."""

    type: Text = Field(description="a registered loss")


class Optimizer(OpenBlock):
    """An optimizer of `torch.optim`, or `Muon`; its other keys are arguments of its class."""

    type: Text = Field(
        description="name in `torch.optim`, or `Muon`: orthogonal steps for matrices, Adam's for the rest; models of the framework "
        "itself take `Adam` alone"
    )
    lr: Positive = Field(description="learning rate")
    adam_lr: Optional[Positive] = Field(None, description="Muon's rate of what is no matrix; a quarter of `lr` if not given")
    weight_decay: NotNegative = Field(0, description="pull of the weights towards 0")
    betas: Annotated[list[Share], Field(min_length=2, max_length=2)] = Field([0.9, 0.999], description="Adam's averages")
    momentum: NotNegative = Field(0, description="of SGD")
    eps: Positive = Field(1e-8, description="Adam's smallest divisor")
    amsgrad: Flag = Field(False, description="AMSGrad variant of Adam")
    nesterov: Flag = Field(False, description="Nesterov's momentum")
    fused: Optional[Flag] = Field(None, description="one kernel for all weights; where not given, Adam and AdamW on GPUs have it")


class MultiStepLR(Block):
    """The rate falls at given iterations."""

    type: Annotated[str, choice("MultiStepLR", "MultiStepRestartLR")] = Field(description="both are the same")
    milestones: Counts = Field(description="iterations at which the rate is multiplied by `gamma`")
    gamma: Positive = Field(0.1, description="factor")
    restarts: CountsOrZero = Field([0], description="iterations at which it starts again")
    restart_weights: PositiveNumbers = Field([1], description="multiples of the first rate at these")


class CosineAnnealingRestartLR(Block):
    """The rate falls along a cosine, once or several times."""

    type: Annotated[str, choice("CosineAnnealingRestartLR")] = Field(description="this one")
    periods: Annotated[Counts, Field(min_length=1)] = Field(description="iterations of each cosine; together at least `total_iter`")
    restart_weights: PositiveNumbers = Field([1], description="multiples of the rate in each, as many as `periods`")
    eta_min: NotNegative = Field(0, description="lowest rate")


SCHEDULERS: dict[str, type[Block]] = {
    "MultiStepLR": MultiStepLR,
    "MultiStepRestartLR": MultiStepLR,
    "CosineAnnealingRestartLR": CosineAnnealingRestartLR,
}


class Scheduler(OpenBlock):
    """A course of the learning rate."""

    type: Annotated[str, choice(*SCHEDULERS)] = Field(description="what the other keys belong to")


class AnyTrain(Block):
    """`train`, every model."""

    adversarial: ClassVar[bool] = False  # has a discriminator
    engine: ClassVar[bool] = False  # of this package

    total_iter: Count = Field(description="iterations in all")
    warmup_iter: Annotated[int, whole(-1)] = Field(-1, description="iterations in which the rate rises from 0; -1: none")
    optim_g: Optimizer = Field(description="optimizer of the network")
    scheduler: Scheduler = Field(description="course of the learning rate")


class PixelTrain(AnyTrain):
    """`SRModel` and what descends from it"""

    ema_decay: Share = Field(0, description="moving average of the weights, which validation then uses; 0: none")
    pixel_opt: Optional[Loss] = Field(None, description="loss of the image")
    perceptual_opt: Optional[Loss] = Field(None, description="loss of features")


class Adversarial(AnyTrain):
    """every model with a discriminator"""

    adversarial = True

    optim_d: Optional[Optimizer] = Field(None, description="optimizer of the discriminator; needed")
    gan_opt: Optional[Loss] = Field(None, description="adversarial loss; needed")
    net_d_iters: Count = Field(1, description="n: the network learns in every n-th iteration only")
    net_d_init_iters: CountOrZero = Field(0, description="iterations before the network begins to learn")


class GANTrain(Adversarial, PixelTrain):
    """`SRGANModel`, `ESRGANModel`"""

    ldl_opt: Optional[Loss] = Field(None, description="loss of local artefacts")


class EngineTrain(AnyTrain):
    """every model of this package"""

    engine = True

    ema_decay: Share = Field(0, description="moving average of the weights, which validation then uses; 0: none")
    ema_warmup: Flag = Field(
        False, description="the average forgets the start sooner: its decay in iteration n is (1 + n) / (10 + n) at most"
    )
    precision: Optional[Annotated[str, choice("fp32", "bf16", "fp16", "auto")]] = Field(
        "fp32",
        description="of convolutions and matrix products; weights, losses and validation stay in float32; `auto`: fp32 or bf16, "
        "what is faster for the network's largest layer",
    )
    channels_last: Optional[FlagOrAuto] = Field(
        False, description="channels beside each other in memory; `auto`: if that is faster"
    )
    compile: Optional[Flag] = Field(False, description="run the networks through `torch.compile`")
    grad_checkpointing: Flag = Field(False, description="recompute blocks in the backward pass: less memory, more time")
    reuse_memory: Flag = Field(True, description="on CPUs: keep freed memory for the next step; faster with large maps")
    frozen: Optional[Names] = Field(None, description="parts of the network, as `trunk.body`, whose parameters stay as they are")
    lr_mult: Optional[dict[str, Positive]] = Field(
        None, description="factors of the learning rate by parts of the network, as `{trunk.parsing: 0.1}`; inner parts first"
    )
    grad_clip: Optional[Positive] = Field(None, description="largest norm of all gradients of an optimizer; `~`: any")
    accumulation: Count = Field(1, description="batches of `batch_size_per_gpu` whose mean gradient makes a step")
    nonfinite: Annotated[str, choice("stop", "skip")] = Field(
        "stop", description="at a loss that is no finite number: stop, or skip the step"
    )
    sync_bn: Flag = Field(False, description="BatchNorm's statistics over all processes; on GPUs only")


class FaceSRTrain(EngineTrain):
    """`FaceSRModel`; it needs one of the two"""

    pixel_opt: Optional[Loss] = Field(None, description="loss of the image")
    perceptual_opt: Optional[Loss] = Field(None, description="loss of features")


class WNetTrain(EngineTrain):
    """`WNetModel`"""

    wnet_opt: Optional[Loss] = Field(None, description="loss of image, parsing map and facial components; needed")
    true_parsing: Flag = Field(
        False, description="give the network the true map instead of its estimate: what a better one would be worth"
    )
    parsing_ramp_iter: CountOrZero = Field(
        0, description="iterations in which the weight of the parsing term rises from 0 to its value"
    )


class PriorTrain(EngineTrain):
    """`PriorFaceSRModel`"""

    prior_opt: Optional[Loss] = Field(None, description="loss over all that the network gives; needed")
    freeze_landmark_iters: CountOrZero = Field(0, description="iterations in which the network's landmark net stays as it is")


class StartIters(Block):
    """The first iteration of a part of an adversarial training."""

    content: Integer = Field(1, description="losses of the network but `pixel_opt` and `gan_opt`")
    net_d: Integer = Field(1, description="training of the discriminator")
    gan: Integer = Field(1, description="`gan_opt` for the network")


class StagedAdversarial(Adversarial):
    """`FaceGANModel`, `WNetGANModel`"""

    start_iters: Optional[StartIters] = Field(None, description="when parts of the training begin")
    scheduler_d: Optional[Scheduler] = Field(None, description="course of the discriminator's rate; `scheduler` where not given")


class FaceGANTrain(StagedAdversarial, FaceSRTrain):
    """`FaceGANModel`"""

    wavelet_opt: Optional[Loss] = Field(None, description="WIPA's loss of wavelet coefficients; for networks that predict them")
    identity_opt: Optional[Loss] = Field(None, description="loss of identity vectors")


class WNetGANTrain(StagedAdversarial, WNetTrain):
    """`WNetGANModel`"""

    gan_shift: CountOrZero = Field(0, description="pixels that are cut off at random sides before the discriminator")


class OpenTrain(AnyTrain, OpenBlock):
    """`train` of a model that nobody here knows."""

    ema_decay: Share = Field(0, description="moving average of the weights")


#: Which block the models read, by class name; classes that descend from one read the same and what they declare.
OF_MODEL: dict[str, type[AnyTrain]] = {
    "SRModel": PixelTrain, "SwinIRModel": PixelTrain, "SRGANModel": GANTrain, "ESRGANModel": GANTrain,
    "FaceSRModel": FaceSRTrain, "WNetModel": WNetTrain, "PriorFaceSRModel": PriorTrain, "FaceGANModel": FaceGANTrain,
    "WNetGANModel": WNetGANTrain,
}  # fmt: skip
