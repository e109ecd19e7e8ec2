"""The arguments of `train.py` for a model that was made elsewhere."""

import argparse
from typing import get_args

from explorer import arguments
from explorer.importing.assembly import Output, Pixels
from explorer.importing.reading import ImportFault
from explorer.importing.saving import check_name

PARTS = ("encoder", "decoder", "classifier")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of a model that was made elsewhere."""
    group = parser.add_argument_group("a model of your own, from ONNX files (pip install onnx)")
    group.add_argument("--import", dest="imported", metavar="NAME", help="of the model in the app")
    for part in PARTS:
        group.add_argument(f"--{part}", type=arguments.path, metavar="FILE", help=f"its {part}, an .onnx file")
    group.add_argument(
        "--range", nargs=2, type=float, default=(0.0, 1.0), metavar=("BLACK", "WHITE"),
        help="of the pixels that it takes (default: 0 1)",
    )  # fmt: skip
    for name, default in (("mean", 0.0), ("std", 1.0)):
        group.add_argument(
            f"--{name}", nargs="+", type=float, default=(default,), metavar="X",
            help=f"{name} that its pixels are normalised with, one or one for each channel",
        )  # fmt: skip
    group.add_argument(
        "--output", choices=get_args(Output),
        help="what its decoder makes: pixels in [0, 1], their logits, or pixels scaled as the encoder takes them "
        "(default: what looks most like the images)",
    )  # fmt: skip
    group.add_argument(
        "--variational", action=argparse.BooleanOptionalAction,
        help="whether the encoder gives mean and log-variance (default: seen from what the decoder takes)",
    )  # fmt: skip


def check_arguments(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """Refuse arguments of an import that do not go together."""
    given = {part for part in PARTS if getattr(args, part)}
    if args.imported is None:
        if given:
            parser.error(f"--{min(given)} goes with --import NAME, the name of the model")
        return
    if args.models or not (args.dataset or args.images):
        parser.error("--import goes with --dataset or --images, and without MODEL")
    wanted = args.only is None or "fit" in args.only
    if wanted and given not in ({"encoder", "decoder"}, {"classifier"}):
        parser.error("--import needs --encoder FILE and --decoder FILE, or --classifier FILE")
    try:
        check_name(args.imported)
        args.pixels = Pixels(*args.range, tuple(args.mean), tuple(args.std), args.output)
    except ImportFault as error:
        parser.error(str(error))
    args.files = {part: getattr(args, part) for part in PARTS if part in given}
