"""The model every network of this package trains with: BasicSR's SRModel, mended where it goes wrong."""

from __future__ import annotations

import copy
import time
import warnings
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import overload

import torch
from basicsr.archs import build_network
from basicsr.models.sr_model import SRModel
from basicsr.utils import get_root_logger
from basicsr.utils.dist_util import master_only
from basicsr.utils.registry import MODEL_REGISTRY
from torch import nn

from wnet_arch.errors import UsageError, named
from wnet_arch.float32 import true_float32
from wnet_arch.losses.building import build_loss
from wnet_arch.training import (
    accumulation,
    averaging,
    continuation,
    distributed,
    grad_checkpointing,
    optimizers,
    parts,
    progress,
    run_log,
    training_state,
    validation,
    warm_up,
)  # fmt: skip
from wnet_arch.training.loss_values import FiniteCheck, LossValues, mean_over_processes
from wnet_arch.training.memory import reuse_freed_memory
from wnet_arch.training.precision import Precision
from wnet_arch.training.saving_times import SavingTimes
from wnet_arch.training.step_clock import StepClock, timed
from wnet_arch.weights import checkpoint
from wnet_arch.weights.checkpoint import load_into
from wnet_arch.words import counted


@MODEL_REGISTRY.register()
class FaceSRModel(SRModel):
    """Trains and validates any super-resolution network with the options of SRModel.

    Differences from SRModel, each for a reason:

    * The moving average (``ema_decay``) takes BatchNorm's statistics along. SRModel averages parameters only, so the averaged
      network keeps the initial statistics for ever and is validated, and saved, with them.
    * Testing runs the bare network, not its distributed wrapper, which would wait for the other processes. SRModel lets the first
      process validate alone; here each takes a share of the images, and the numbers are those of one process, to the last bit.
    * Processes on CPUs are joined, too; see :mod:`wnet_arch.training.distributed`.
    * Weights are read without unpickling code, from ``.pth`` or ``.safetensors``; a mismatch names the first differences.
    * Every optimizer of ``torch.optim`` can be named, and :class:`~wnet_arch.training.optimizers.Muon`. The option dictionaries are
      left as they were.
    * A continued run is the run that was not interrupted: see :mod:`wnet_arch.training.training_state`. Checkpoints are written
      beside and renamed, with a checksum. The last validation is not run twice. Options that have changed are told, and followed
      or refused: see :mod:`wnet_arch.training.continuation`.

    Options that SRModel does not have:

    * ``train.precision``, ``train.channels_last``, ``train.compile``, ``train.grad_clip``: see
      :class:`wnet_arch.training.precision.Precision`.
    * ``train.grad_checkpointing``: less memory for more time, see :mod:`wnet_arch.training.grad_checkpointing`.
    * ``train.frozen``, ``train.lr_mult``: parts of the network that stay as they are, or have a learning rate of their own, see
      :mod:`wnet_arch.training.parts`.
    * ``train.reuse_memory``: freed memory is kept on CPUs (default), see :func:`wnet_arch.training.memory.reuse_freed_memory`.
    * ``train.accumulation``: an iteration draws so many batches, and takes one step with the mean of their gradients.
    * ``train.sync_bn``: batch normalisation over the images of all processes together (GPUs).
    * ``train.nonfinite``: what to do when a loss is not a finite number: ``stop`` (default), naming the term, the iteration and
      the images, or ``skip`` the step.
    * ``logger.save_checkpoint_minutes``: checkpoints by the clock, beside those by iterations.
    * ``logger.keep_last``: how many checkpoints stay; all where not given.
    * ``val.batch``: images of one size that validation predicts together.
    * ``val.keep_best``: a metric; the network that is best in it on the first validation set is kept as ``net_g_best.pth``.

    A model with other losses overrides :meth:`init_losses` and :meth:`compute_losses`, where it runs networks by :meth:`run`;
    one that changes gradients, :meth:`before_step`.
    """

    #: Learning rates and optimizers of a continued run may change, see :mod:`wnet_arch.training.continuation`.
    follows_changes = True

    def __init__(self, opt: dict):
        self.options = continuation.options_of(opt)
        opt = copy.deepcopy(opt)  # SRModel and BaseModel pop entries from it
        if opt.get("val"):
            opt["val"].setdefault("suffix", None)
        self.precision = Precision(opt.get("train") or {}, "cuda" if opt["num_gpu"] != 0 else "cpu")
        self.parts = accumulation.count(opt.get("train") or {})
        super().__init__(opt)

    def init_training_settings(self) -> None:
        """Builds what only training needs, in this order: averaged network, losses, optimizers, schedules."""
        self.net_g.train()
        self.current_iter = 0
        if self.device.type == "cpu" and self.opt["train"].get("reuse_memory", True):
            reuse_freed_memory()
        if self.opt["train"].get("grad_checkpointing"):
            grad_checkpointing.switch_on(self.get_bare_model(self.net_g), self.precision.compile)
        skip = self.opt["train"].get("nonfinite", "stop") == "skip"
        self.saving_times, self.validated = SavingTimes(self.opt), validation.Validated(self.opt)
        self.states = training_state.States(self.opt, self.validated, self.saving_times, self.state)
        self.step_clock = StepClock(self.device)
        self.finite = FiniteCheck(self.device, skip, self.opt["dist"])
        self.ema_decay = self.opt["train"].get("ema_decay", 0)
        if self.ema_decay > 0:
            self.init_ema()
        self.init_losses()
        self.setup_optimizers()
        self.setup_schedulers()

    def init_ema(self) -> None:
        """Builds the averaged network, from ``params_ema`` of the pretrained file if there is one."""
        get_root_logger().info(f"Use Exponential Moving Average with decay: {self.ema_decay}")
        self.net_g_ema = self.precision.arrange(build_network(self.opt["network_g"])).to(self.device)
        self.net_g_ema.requires_grad_(False).eval()
        self.average = averaging.MovingAverage(self.net_g_ema, self.get_bare_model(self.net_g))
        path, key = self.opt["path"].get("pretrain_network_g"), self.opt["path"].get("param_key_g", "params")
        if path:  # files of others have no average: it begins with what the network begins with
            key = "params_ema" if key in ("params", "params_ema") else key
            self.load_network(self.net_g_ema, path, self.opt["path"].get("strict_load_g", True), key)
        else:
            self.model_ema(0)

    def init_losses(self) -> None:
        """Builds the losses named in ``train``: ``pixel_opt`` and ``perceptual_opt``."""
        train_opt = self.opt["train"]
        if not train_opt.get("pixel_opt") and not train_opt.get("perceptual_opt"):
            raise UsageError("train: neither pixel_opt nor perceptual_opt is given, so there is no loss to train with")
        self.cri_pix = self._build_loss(train_opt.get("pixel_opt"))
        self.cri_perceptual = self._build_loss(train_opt.get("perceptual_opt"))

    def setup_optimizers(self) -> None:
        """As SRModel's, which logs a warning for each tensor that is not trained; and adds them up in one line."""
        options = dict(self.opt["train"]["optim_g"])
        trained = [parameter for parameter in self.net_g.parameters() if parameter.requires_grad]
        frozen = sum(parameter.numel() for parameter in self.net_g.parameters() if not parameter.requires_grad)
        if frozen:
            get_root_logger().info(f"train.frozen: {frozen:,d} parameters stay as they are")
        self.optimizer_g = self.get_optimizer(options.pop("type"), trained, **options)
        net = self.get_bare_model(self.net_g)
        parts.set_rates(self.optimizer_g, parts.rate_factors(net, self.opt["train"].get("lr_mult")))
        self.optimizers.append(self.optimizer_g)

    @overload
    def _build_loss(self, options: dict) -> nn.Module: ...
    @overload
    def _build_loss(self, options: None) -> None: ...
    def _build_loss(self, options: dict | None) -> nn.Module | None:
        return build_loss(options, self.opt.get("scale")).to(self.device) if options else None

    def model_to_device(self, net: nn.Module) -> nn.Module:
        """A network on the model's device, in the memory layout asked for; in a run of several processes wrapped for them."""
        if self.is_train and net is self.net_g:
            self.precision.settle_for_run(net, self.opt)
        net = self.precision.arrange(net)
        if self.is_train and net is self.net_g:  # before it is wrapped: processes wait for gradients of what they know then
            parts.freeze(net, self.opt["train"].get("frozen"))
        if not self.opt["dist"]:
            return super().model_to_device(net)
        net = net.to(self.device)
        if not self.is_train:
            return net
        sync_bn = self.opt["train"].get("sync_bn", False)
        return distributed.wrap(net, sync_bn, self.opt.get("find_unused_parameters", False))

    def update_learning_rate(self, current_iter: int, warmup_iter: int = -1) -> None:
        """Called by the trainer at the beginning of each iteration; here checkpoints by the clock are written."""
        if self.saving_times.due(current_iter):
            get_root_logger().info("Saving models and training states.")
            self.save(self.saving_times.epoch(current_iter - 1), current_iter - 1)
        progress.begin(self.opt, current_iter, getattr(self, "log_dict", {}))
        with warnings.catch_warnings() if current_iter == 2 else nullcontext():  # when schedules take their first step
            if current_iter == 2:  # they count iterations, whether an optimizer has stepped (not a late discriminator's) or not
                warnings.filterwarnings("ignore", message="Detected call of `lr_scheduler.step")
            groups = [group for optimizer in self.optimizers for group in optimizer.param_groups]
            warm_up.undo(groups)
            super().update_learning_rate(current_iter, -1)
            warm_up.apply(groups, current_iter, warmup_iter)

    def on_device(self, tensor: torch.Tensor) -> torch.Tensor:
        """A tensor of a batch where the network is; from pinned memory (``pin_memory``) without waiting for the copy."""
        return tensor.to(self.device, non_blocking=True)

    def feed_data(self, data: dict) -> None:
        """Takes a batch: ``lq`` (B, 3, h, w), and ``gt`` (B, 3, H, W) where there is one, in [0, 1]; ``lq_path`` are its names."""
        self.lq = self.on_device(data["lq"])
        if "gt" in data:
            self.gt = self.on_device(data["gt"])
        self.batch, self.names = data, data.get("lq_path", ())

    def run(self, net: nn.Module, *inputs: torch.Tensor, **options):
        """Runs a network that is being trained, in the precision asked for; its output is float32."""
        return self.precision.run(net, *inputs, **options)

    def run_generator(self, **options):
        """Runs the network on ``self.lq``, with ``options`` of its ``forward``; sets ``self.output``, the faces (B, 3, H, W).

        Returns:
            What the network gave: the faces, or a named tuple of which they are the field ``sr``.

        Raises:
            UsageError: the faces have not the shape of ``self.gt``. Losses would stretch one to the other, with a warning at most.
        """
        out = self.run(self.net_g, self.lq, **options)
        self.output = getattr(out, "sr", out)
        made, wanted = (tuple(getattr(images, "shape", ())) for images in (self.output, self.gt))
        if made != wanted:
            gave = f"{self.opt['network_g']['type']} gave {f'images {made}' if made else 'no images'}"
            raise UsageError(f"network_g: {gave} for an LR batch {tuple(self.lq.shape)}, and the HR batch is {wanted}")
        return out

    def compute_losses(self) -> OrderedDict:
        """Runs the network on ``self.lq``; returns weighted loss terms (scalars), logged by name, whose sum is minimised."""
        self.run_generator()
        losses = OrderedDict()
        if self.cri_pix:
            losses["l_pix"] = self.cri_pix(self.output, self.gt)
        if self.cri_perceptual:
            perceptual, style = self.cri_perceptual(self.output, self.gt)
            losses.update({name: term for name, term in (("l_percep", perceptual), ("l_style", style)) if term is not None})
        return losses

    @timed
    def optimize_parameters(self, current_iter: int) -> None:
        """One step of the optimizer, and of the average, on the batch that was fed; its terms become ``log_dict``.

        Raises:
            WNetError: a loss is no finite number, and ``train.nonfinite`` is ``stop``.
        """
        self.current_iter = current_iter
        self.optimizer_g.zero_grad(set_to_none=True)
        terms, kept, stepped = [], self.finite.kept(self.net_g), False
        for last in self.each_part():
            with self.exchange(self.net_g, last):
                terms.append(self.compute_losses())
                if not self.all_finite(terms[-1], current_iter):
                    break
                self.precision.backward(sum(terms[-1].values()) / self.parts)
        else:
            self.before_step(current_iter)
            self.precision.step(self.optimizer_g)
            stepped = True
        self.log_dict = self.reduce_loss_dict(accumulation.mean(terms))
        if not stepped:
            self.finite.put_back(kept)
        elif self.ema_decay > 0:
            self.model_ema(averaging.decay_at(current_iter, self.opt["train"]))

    def each_part(self) -> Iterator[bool]:
        """Feeds the parts of the batch (``train.accumulation``) one after the other; says of each whether it is the last."""
        if self.parts == 1:
            yield True
            return
        for number, part in enumerate(accumulation.split(self.batch, self.parts), start=1):
            self.feed_data(part)
            yield number == self.parts

    def exchange(self, net: nn.Module, now: bool):
        """Context of a forward and backward pass whose gradients the processes exchange ``now``, or with a later one."""
        return net.no_sync() if isinstance(net, nn.parallel.DistributedDataParallel) and not now else nullcontext()

    def all_finite(self, losses: dict[str, torch.Tensor], current_iter: int) -> bool:
        """Whether all terms, on all processes, are finite numbers, as far as is known: see :class:`FiniteCheck`.

        Raises:
            WNetError: they are not, and ``train.nonfinite`` is ``stop``.
        """
        return self.finite.passes(losses, current_iter, self.names)

    def reduce_loss_dict(self, loss_dict: dict[str, torch.Tensor]) -> LossValues:
        """The mean of loss terms over all processes, in the first of them, for the log."""
        return mean_over_processes(loss_dict, self.opt)

    def get_current_log(self) -> OrderedDict:
        """The loss terms of the last iteration, as numbers; on a GPU the times of a step, too, see :class:`StepClock`.

        Raises:
            WNetError: one of them is no finite number, which was not looked at before (see :class:`FiniteCheck`).
        """
        self.finite.settle()
        return OrderedDict({**self.log_dict, **self.step_clock.read()})

    def before_step(self, current_iter: int) -> None:
        """Called with gradients in place, before the optimizer's step of each iteration; does nothing here."""

    def model_ema(self, decay: float = 0.999) -> None:
        """Moves the averaged network towards the current one, see :class:`~wnet_arch.training.averaging.MovingAverage`."""
        self.average.move(decay)

    def test(self) -> None:
        """Predicts with the averaged network where there is one, else with the current one, in evaluation mode."""
        net = self.net_g_ema if hasattr(self, "net_g_ema") else self.get_bare_model(self.net_g)
        was_training = net.training
        net.eval()
        with torch.no_grad():
            self.predict(net)
        net.train(was_training)

    def predict(self, net: nn.Module) -> None:
        """Sets ``self.output`` to what ``net`` makes of ``self.lq``."""
        self.output = net(self.lq)

    def print_network(self, net: nn.Module) -> None:
        """Logs one line; SRModel logs every layer, some hundred lines before each run says anything else."""
        bare = self.get_bare_model(net)
        count = sum(p.numel() for p in bare.parameters())
        get_root_logger().info(f"Network: {type(bare).__name__}, with parameters: {count:,d}")

    def validation(self, dataloader, current_iter: int, tb_logger, save_img: bool = False) -> None:
        """Validates a set, once in an iteration; then keeps the best network, and writes the state that waits for this set."""
        if not self.is_train:
            super().validation(dataloader, current_iter, tb_logger, save_img)
            return
        name = dataloader.dataset.opt["name"]
        if self.validated.last.get(name) == current_iter:
            return  # the framework validates again at the end of the run
        self.finite.settle()
        try:
            super().validation(dataloader, current_iter, tb_logger, save_img)
        except validation.NotFiniteError:
            raise  # a run goes on from an earlier state
        except Exception:  # a metric that lacks something, say
            self.states.without_validation()
            raise
        if self.validated.is_best(getattr(self, "best_metric_results", {}), name, current_iter):
            self._save_generator("best")
        self.states.after_validation(name, current_iter)

    def dist_validation(self, dataloader, current_iter: int, tb_logger, save_img: bool) -> None:
        """The same in each process, with the statistics of BatchNorm of the first."""
        for net in (self.get_bare_model(self.net_g), getattr(self, "net_g_ema", None)):
            if net is not None:
                distributed.copy_buffers(net)
        self.nondist_validation(dataloader, current_iter, tb_logger, save_img)

    def nondist_validation(self, dataloader, current_iter: int, tb_logger, save_img: bool) -> None:
        """Logs the means of the metrics over the images of all processes, see :func:`wnet_arch.training.validation.measure`.

        In whole float32, whatever a training's own settings are, see :func:`wnet_arch.float32.true_float32`.
        """
        begin, dataset = time.perf_counter(), dataloader.dataset.opt["name"]
        with true_float32():
            means = validation.measure(self, dataloader, current_iter, tb_logger, save_img)
        if not self.opt["val"].get("metrics"):
            return
        self.metric_results = means
        self.validation_seconds = time.perf_counter() - begin
        self._initialize_best_metric_results(dataset)
        for name, value in means.items():
            self._update_best_metric_result(dataset, name, value, current_iter)
        self._log_validation_metric_values(current_iter, dataset, tb_logger)

    def test_batch(self, samples: dict) -> dict[str, torch.Tensor]:
        """Predicts a batch; returns its images on the CPU, see :meth:`get_current_visuals`."""
        self.feed_data(samples)
        self.test()
        visuals = self.get_current_visuals()
        del self.lq, self.output
        if "gt" in visuals:
            del self.gt
        return visuals

    def save(self, epoch: int, current_iter: int) -> None:
        """Writes ``net_g_ITERATION.pth`` and, after the validation of this iteration, its training state."""
        self.finite.settle()
        self._save_generator(current_iter)
        self.save_training_state(epoch, current_iter)

    def _save_generator(self, label) -> None:
        """The network, and the averaged one under ``params_ema``."""
        average = [self.net_g_ema] if hasattr(self, "net_g_ema") else []
        self.save_network([self.net_g, *average], "net_g", label, ["params", "params_ema"][: 1 + len(average)])

    def _log_validation_metric_values(self, current_iter: int, dataset_name: str, tb_logger) -> None:
        values = {name: float(value) for name, value in self.metric_results.items()}
        seconds = round(self.validation_seconds, 3)
        run_log.append(self.opt, {"iter": current_iter, "set": dataset_name, **values, "validation_seconds": seconds})
        super()._log_validation_metric_values(current_iter, dataset_name, tb_logger)

    @master_only
    def save_network(self, net, net_label: str, current_iter, param_key="params") -> None:
        """Saves networks under their keys in one file, ``LABEL_ITERATION.pth`` (-1: ``latest``).

        Raises:
            WNetError: the disk cannot be written.
        """
        nets, keys = (value if isinstance(value, list) else [value] for value in (net, param_key))
        content = {
            key: OrderedDict((name, value.cpu()) for name, value in self.get_bare_model(one).state_dict().items())
            for one, key in zip(nets, keys)
        }
        label = "latest" if current_iter == -1 else current_iter
        checkpoint.write(content, Path(self.opt["path"]["models"], f"{net_label}_{label}.pth"))

    def save_training_state(self, epoch: int, current_iter: int) -> None:
        """Writes the state now, or after the validation of this iteration if there is one to come."""
        if current_iter != -1:
            self.states.save(epoch, current_iter)

    def state(self) -> dict:
        """What a training state holds of the model itself, beside what :class:`~wnet_arch.training.training_state.States` adds."""
        best = getattr(self, "best_metric_results", {})
        return {
            "options": self.options, "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "schedulers": [scheduler.state_dict() for scheduler in self.schedulers],
            "scaler": self.precision.scaler.state_dict(), "precision": self.precision.settled, "best": training_state.plain(best),
        }  # fmt: skip

    def resume_training(self, resume_state: dict) -> None:
        """Goes on where a state was written; with other options, as far as they may change, from there on."""
        changed = (self.opt.get("resume") or {}).get("changed") or {}
        continuation.load_optimizers(self.optimizers, self.schedulers, resume_state, changed)
        if "random" not in resume_state:  # a state that the framework wrote
            return
        self.states.resume(resume_state)
        nets = (self.net_g, getattr(self, "net_g_ema", None), getattr(self, "net_d", None))
        self.precision.resume(resume_state, [net for net in nets if net is not None])
        if resume_state["best"]:
            self.best_metric_results = continuation.still_best(resume_state["best"], changed, self.opt)

    def _initialize_best_metric_results(self, dataset_name: str) -> None:
        """As the framework's, also for metrics that a continued run did not have before."""
        known = getattr(self, "best_metric_results", {}).pop(dataset_name, {})
        super()._initialize_best_metric_results(dataset_name)
        self.best_metric_results[dataset_name].update(known)

    def load_network(self, net: nn.Module, load_path: str, strict: bool = True, param_key: str = "params") -> None:
        """Loads weights into a network, as it is without wrappers; raises :class:`WeightsError` where they are not its own."""
        missing = load_into(self.get_bare_model(net), load_path, param_key, strict)
        but = f", but {counted(len(missing), 'tensor')}: {named(missing)}" if missing else ""
        get_root_logger().info(f"Loaded {type(self.get_bare_model(net)).__name__} [{param_key}] from {load_path}{but}")

    def get_optimizer(self, optim_type: str, params, lr: float, **kwargs) -> torch.optim.Optimizer:
        """See :func:`wnet_arch.training.optimizers.create`."""
        return optimizers.create(optim_type, params, self.device, self.precision.name, lr=lr, **kwargs)
