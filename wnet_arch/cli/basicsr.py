"""The command ``basicsr``, which the framework itself does not have: train or test with an option file.

It imports this package and every other plugin first, so that their names exist in the framework's registries, checks the
options before anything is created on disk, and hands over to BasicSR's own pipelines with the current folder as root.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from importlib.metadata import entry_points

from wnet_arch.cli.common import run_command
from wnet_arch.errors import UsageError

#: Packages that register networks, models, losses, data sets or metrics name a module in this entry-point group.
PLUGIN_GROUP = "basicsr.plugins"

EXAMPLES = """examples:
  basicsr train -opt wnet_x8                       # the file of the package, as `wnet options show wnet_x8` prints it
  basicsr train -opt options/wnet_x8.yml
  basicsr train -opt options/wnet_x8.yml --auto_resume
  basicsr train -opt options/wnet_x8.yml --force_yml train:total_iter=1000 network_g:peak=1
  torchrun --nproc_per_node 8 --no-python basicsr train -opt options/wnet_x8.yml --auto_resume
  srun basicsr train -opt options/wnet_x8.yml --auto_resume --launcher slurm
  basicsr test -opt test_wnet_x8
"""


def build_parser() -> argparse.ArgumentParser:
    """Arguments of ``basicsr train`` and ``basicsr test``."""
    parser = argparse.ArgumentParser(
        prog="basicsr",
        description="Train or test a network of BasicSR, or of a plugin such as W-Net, with an option file.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("pipeline", choices=("train", "test"))
    parser.add_argument("-opt", required=True, metavar="FILE", help="YAML option file, or a name of `wnet options list`")
    parser.add_argument(
        "--launcher", choices=("none", "pytorch", "slurm"), help="how processes are started (default: pytorch under torchrun)"
    )
    parser.add_argument(
        "--auto_resume",
        action="store_true",
        help="continue from the newest state of this experiment; always so under torchrun --max_restarts N",
    )
    parser.add_argument("--debug", action="store_true", help="short run that validates early; errors show their traceback")
    parser.add_argument("--local_rank", "--local-rank", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument(
        "--force_yml", nargs="+", default=[], metavar="KEY:KEY=VALUE", help="change options, e.g. train:total_iter=1000"
    )
    return parser


def load_plugins() -> list[str]:
    """Imports every plugin installed under the entry-point group; returns their names."""
    group = entry_points(group=PLUGIN_GROUP)
    for plugin in group:
        plugin.load()
    return sorted(plugin.name for plugin in group)


def _main(argv: Sequence[str]) -> int:
    args = build_parser().parse_args(argv)

    import wnet_arch
    from wnet_arch import options
    from wnet_arch.training import distributed

    plugins = ["wnet_arch", *load_plugins()]
    is_train = args.pipeline == "train"
    args.launcher = distributed.launcher(args.launcher, os.environ)
    restarts = distributed.may_be_restarted(os.environ)
    args.auto_resume |= restarts
    with distributed.first_one_speaks(args.launcher, os.environ):
        args.opt = options.resolve(args.opt)
        opt = options.check_schema(options.override(options.load(args.opt), args.force_yml), is_train, plugins)
        if is_train and args.auto_resume and opt["path"].get("resume_state"):
            other = "torchrun's --max_restarts" if restarts else "--auto_resume"
            raise UsageError(f"path.resume_state: {other} goes on from the run's newest state instead: leave out one of them")
    with distributed.joined(args.launcher, opt.get("dist_params"), on_cpu=opt["num_gpu"] == 0):
        if distributed.is_first():
            print(f"{wnet_arch.compat.describe_framework()}; plugins: {', '.join(plugins)}")
        distributed.first_of_machine_checks(lambda: options.check(opt, is_train, plugins))
        if opt.get("manual_seed") is None and distributed.is_joined():
            opt["manual_seed"] = distributed.common_seed()
        with tempfile.TemporaryDirectory() as folder:
            run_pipeline(args, options_for_framework(opt, args.opt, folder))
    if args.launcher != "none":
        distributed.leave(0)
    return 0


def options_for_framework(opt: dict, path: str, folder: str) -> str:
    """The option file; or one in ``folder`` where the framework would read others: overrides, aliases, ``1e-4`` (text to it)."""
    from wnet_arch import options

    if options.framework_reads(opt, path):
        return path
    path = os.path.join(folder, os.path.basename(path))
    options.save(opt, path)
    return path


def run_pipeline(args: argparse.Namespace, path: str) -> None:
    """Runs BasicSR's pipeline, which reads ``sys.argv`` by itself, with the current folder as root."""
    from wnet_arch.training import progress, run_lock
    from wnet_arch.training.patches import patch_trainer

    patch_trainer()
    sys.argv = [f"basicsr {args.pipeline}", "-opt", path, "--launcher", args.launcher, "--local_rank", str(args.local_rank)]
    sys.argv += ["--auto_resume"] * args.auto_resume + ["--debug"] * args.debug
    if args.pipeline == "train":
        from basicsr.train import train_pipeline as pipeline
    else:
        from basicsr.test import test_pipeline as pipeline
    try:
        with progress.closed_afterwards():
            pipeline(os.getcwd())
    finally:
        run_lock.release()


def main() -> None:
    """Entry point of the console script."""
    rank = int(os.environ.get("RANK", 0))
    sys.exit(run_command(f"basicsr (process {rank})" if rank else "basicsr", _main))


if __name__ == "__main__":
    main()
