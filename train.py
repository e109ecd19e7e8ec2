"""Fit the models of the roster and write one bundle for each.

    python train.py                                    every model: Fashion-MNIST, then faces
    python train.py conv-vae fc-ae --dataset digits --epochs 5 --device cpu --seed 1
    python train.py --dataset celeba                   the models of faces: the hours beforehand, a table in the end
    python train.py length-family beta-family          one model over a list of values each, for the pages with a dial
    python train.py --images FOLDER                    a set of models, on your own pictures
    python train.py fc-ae --only metrics projections   later stages of an existing bundle
    python train.py --resume                           go on where a run was stopped
    python train.py --import my-ae --encoder enc.onnx --decoder dec.onnx --dataset fashion-mnist
                                                       a model of your own, from ONNX files; nothing is fitted
    python train.py --list                             the roster
    torchrun --nproc-per-node=4 train.py face-vae      one model on four GPUs, or machines; see torchrun's manual
    torchrun --nproc-per-node=4 train.py --shard-roster   each GPU a model of its own, until all are fitted

Exit codes: 0 all went well, 1 a model failed, 2 the command is wrong, 130 interrupted, 143 terminated.
"""

import argparse
import dataclasses
import errno
import functools
import math
import os
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

import torch
from tqdm import tqdm

from explorer import (
    arguments,
    cards,
    checkpoints,
    dials,
    edits,
    families,
    imagefolder,
    importing,
    ladder,
    metrics,
    processes,
    stages,
    training,
    uses,
    watching,
)
from explorer.arguments import at_least, one_of, positive
from explorer.checkpoints import Bundle, BundleError
from explorer.datasets import DATASETS, SPLITS, DataError, Dataset, ImageSet, data_folder, gallery_indices
from explorer.devices import default_precision, free_memory, usable_device
from explorer.families import FAMILIES, Family, FamilyBundle, Fit, Part
from explorer.graph import NotInstalled
from explorer.importing import ImportFault
from explorer.models import Classifier, ModelConfig, multiply_adds, n_parameters
from explorer.processes import ALONE, NoGroup, Processes
from explorer.roster import ROSTER, Entry, for_images

DRY_RUN_IMAGES = 64
KEPT = "Finished stages are kept."
GONE = ("peer", "onnection", "imed out", "rendezvous")  # in what gloo and NCCL say when a process does not answer
STATE_EVERY = 30.0  # seconds: writing the state after each epoch would take longer than an epoch of a small model


class Terminated(KeyboardInterrupt):
    """SIGTERM came, as from `kill`, a batch system, or torchrun when another process failed."""


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line; a mistake ends the program with exit code 2 and says what is known."""
    parser = argparse.ArgumentParser(
        description="Fit the models of the latent-space explorer and write their bundles.",
        epilog=f"models: {', '.join(ROSTER)}; families: {', '.join(FAMILIES)}",
    )
    parser.add_argument(
        "models", nargs="*", type=one_of([*ROSTER, *FAMILIES], "model"), metavar="MODEL",
        help="which models and families to fit (default: all models)",
    )  # fmt: skip
    dataset = one_of(DATASETS, "data set")
    parser.add_argument(
        "--dataset", type=dataset, help=f"one of {', '.join(DATASETS)} (default: that of each model's report)"
    )
    parser.add_argument(
        "--images", type=arguments.path, metavar="FOLDER",
        help="fit a set of models to your own pictures, in a folder or a zip; subfolders are classes",
    )  # fmt: skip
    parser.add_argument(
        "--size", type=at_least(8, imagefolder.LARGEST), help="of your own images (default: 28 grey, 64 colour)"
    )
    parser.add_argument("--grey", action="store_true", help="without colours (default: as they are)")
    parser.add_argument("--name", help="of the data set that your own images make (default: the folder's)")
    importing.add_arguments(parser)
    parser.add_argument("--epochs", type=at_least(1), help="instead of the recipe's")
    parser.add_argument("--batch-size", type=at_least(2), help="instead of the recipe's")
    parser.add_argument("--learning-rate", type=positive, help="instead of the recipe's")
    parser.add_argument("--device", default="auto", help="auto (default), cuda, cuda:1, mps or cpu")
    parser.add_argument("--threads", type=arguments.threads, help="CPU threads (default: all cores)")
    parser.add_argument(
        "--precision", choices=("bfloat16", "float32"),
        help="what training multiplies in (default: bfloat16 on GPUs that have it, else float32)",
    )  # fmt: skip
    parser.add_argument("--no-graph", action="store_true", help="on CUDA: run each step as written, record none")
    parser.add_argument(
        "--device-limit", type=at_least(0), metavar="MB",
        help="images of more than this are streamed to the device (default: half of its free memory)",
    )  # fmt: skip
    parser.add_argument(
        "--shard-roster", action="store_true",
        help="under torchrun: each process fits models of its own, rather than all of them one together",
    )  # fmt: skip
    parser.add_argument("--seed", type=at_least(0, 2**63 - 1), default=0, help="of all that is drawn (default: 0)")
    parser.add_argument("--data-dir", type=arguments.path, help="data folder (default: EXPLORER_DATA, else data/)")
    parser.add_argument(
        "--checkpoints", type=arguments.path,
        help="where bundles go (default: EXPLORER_CHECKPOINTS, else checkpoints/)",
    )  # fmt: skip
    parser.add_argument(
        "--only", nargs="+", choices=(*checkpoints.STAGES, *checkpoints.ASKED_FOR), metavar="STAGE",
        help="run just these of: fit, metrics, projections, uses, ladder, edits; the last three are not run otherwise",
    )  # fmt: skip
    parser.add_argument(
        "--resume", action="store_true", help="go on after the last whole epoch of a run that was stopped"
    )
    parser.add_argument(
        "--force", action="store_true",
        help="with --resume: begin anew what was made otherwise, and do again what is done already",
    )  # fmt: skip
    parser.add_argument(
        "--test-curve", action="store_true",
        help="also measure the PSNR on the test split after each epoch; nothing is chosen by it",
    )  # fmt: skip
    parser.add_argument("--list", action="store_true", help="print the roster and stop")
    parser.add_argument("--download", action="store_true", help="fetch and check the data set and stop")
    parser.add_argument("--dry-run", action="store_true", help="run one batch of everything, keep nothing")
    args = parser.parse_args(argv)
    importing.check_arguments(parser, args)
    args.only = args.only or list(checkpoints.STAGES)
    args.roster = ROSTER
    if args.images and (args.models or args.dataset):
        parser.error("--images fits models of its own to a data set of its own: leave out MODEL and --dataset")
    try:
        names = [args.imported] if args.imported else []
        if args.images:
            args.work = {own_name(args): names}
        else:
            args.work = {args.dataset: names} if names else families.choose(args.models, args.dataset)
        if not (args.list or args.download):  # neither needs a device, and CUDA takes seconds to start
            args.device = usable_device(args.device)
        args.data_dir, args.checkpoints = data_folder(args.data_dir), checkpoints.root_folder(args.checkpoints)
    except (ValueError, argparse.ArgumentTypeError) as error:
        parser.error(str(error))
    except RuntimeError as error:
        parser.error(f"a variable names a path with ~, and there is no home folder: {error}")
    return args


def own_name(args: argparse.Namespace) -> str:
    """Name the data set that one's own pictures make.

    Raises:
        ValueError: it is that of a standard one, or of other signs than small letters, digits and hyphens.
    """
    name = args.name or imagefolder.name_of(args.images)
    if name in DATASETS:
        raise ValueError(f"{name!r} is a standard data set: choose another --name for the pictures in {args.images}")
    if name != imagefolder.slug(Path(name)):
        raise ValueError(f"--name {name!r} is not of small letters, digits and hyphens")
    return name


def own_images(args: argparse.Namespace, name: str) -> Dataset:
    """Look at the pictures that were found, say what they are, and make them the data set, with a roster, of this run.

    Raises:
        BundleError: there is a data set of this name whose description cannot be read.
    """
    found = args.found
    if (args.checkpoints / name / cards.DATASET_FILE).is_file():  # what was decided stays: a part hangs on the pixels
        channels, side, _ = cards.read_dataset(args.checkpoints, name).image_shape
    else:
        channels = 1 if args.grey or imagefolder.is_grey(found, args.watch.read) else 3
        side = imagefolder.SIDES[channels]
    if args.grey and channels == 3:
        channels, side = 1, imagefolder.SIDES[1]
    side = args.size or side
    dataset = imagefolder.dataset(found, name, (channels, side, side), args.watch.read)
    args.roster = for_images(dataset, max(1, len(found.names) * 8 // 10))
    args.work = {name: args.work[name] or list(args.roster)}
    kinds = f"{len(found.classes)} classes" if len(found.classes) > 1 else "no classes"
    colours = "in colour" if channels == 3 else "grey"
    print(f"{dataset.title}: {len(found.names):,} pictures, {kinds}, {colours}, made {side} × {side}", flush=True)
    return dataset


def print_roster() -> None:
    """Print one line per model: parameters, length of the code, epochs, what it is."""
    for entry in ROSTER.values():
        model = entry.config.build()
        print(
            f"{entry.name:<12} {n_parameters(model):>9,} parameters, {multiply_adds(model) / 1e6:>5.1f} million "
            f"multiply-adds, {model.code_length:>5,} numbers in "
            f"the {'code' if entry.is_autoencoder else 'features'}, "
            f"{entry.recipe.epochs:>3} epochs on {entry.home}: {entry.summary}"
        )
    for family in FAMILIES.values():
        epochs = sum(fit.recipe.epochs for fit in family.fits)
        print(
            f"{family.name:<13} {len(family.fits):>2} fittings of {epochs} epochs in all on {family.home}: "
            f"{family.summary}"
        )


def download(dataset: Dataset, data_dir: Path) -> None:
    """Fetch what is missing or damaged of a data set, with progress bars, and check it all."""
    if dataset.fetch:
        print(f"{dataset.title}: fetching up to {dataset.megabytes} MB to {data_dir.resolve()}", flush=True)
        dataset.fetch(data_dir)
    for split in ("train", "test"):
        dataset.load(split, data_dir)
    print(f"{dataset.title} is complete")


def load_splits(dataset: Dataset, data_dir: Path, dry_run: bool) -> dict[str, ImageSet]:
    """Read the three splits, downloading them first where nothing is there yet."""
    if dataset.fetch and not (data_dir / dataset.folder / "raw").is_dir():
        download(dataset, data_dir)
    splits = {split: dataset.load(split, data_dir) for split in SPLITS}
    if dry_run:
        splits = {name: data[torch.arange(min(DRY_RUN_IMAGES, len(data)))] for name, data in splits.items()}
    return splits


def begun(
    bundle: Bundle, entry: Entry, dataset: Dataset, splits: dict[str, ImageSet], args: argparse.Namespace
) -> tuple[dict[str, object], training.Fitting | None, list[training.Epoch], str]:
    """Describe a model and make it ready to be fitted, or None where it is fitted; with what is behind it, and a note.

    Raises:
        BundleError: it was begun or fitted otherwise.
    """
    config = dataclasses.replace(entry.config, image_shape=dataset.image_shape)
    if not entry.is_autoencoder:
        config = dataclasses.replace(config, n_classes=len(dataset.classes))
    recipe = dataclasses.replace(entry.recipe, **changes(args))
    curve = args.test_curve and entry.is_autoencoder
    description = checkpoints.describe(bundle, config, recipe, dataset, splits, args.seed, curve)
    if is_fitted(bundle, description, args):
        return description, None, [], ""
    fitting = new_fitting(config, recipe, splits, args)
    if args.resume and bundle.state_file.exists() and not args.force:
        state, history = bundle.read_state(description)
        return description, fitting, history, fitting.restore(state)
    return description, fitting, [], ""


def fit(bundle: Bundle, entry: Entry, dataset: Dataset, splits: dict[str, ImageSet], args: argparse.Namespace) -> None:
    """Fit one model with a progress bar and write its configuration, weights and history."""
    description, fitting, history, note = begun(bundle, entry, dataset, splits, args)
    if fitting is None:
        print(f"{entry.name}: is fitted already", flush=True)
        return
    if note:
        print(f"{entry.name}: {note}", file=sys.stderr)
    model, recipe, together = fitting.model, fitting.recipe, args.together
    curve = args.test_curve and entry.is_autoencoder
    seconds = training.expected_seconds(fitting)
    print(f"{entry.name}: {recipe.epochs - fitting.epoch} epochs, about {watching.duration(seconds)}", flush=True)
    painter = watching.Painter(args.watch, model, splits["validation"])
    args.watch.say(doing="fitting", model=entry.name, done=fitting.epoch, total=recipe.epochs, left=seconds)
    painter.paint(fitting.epoch, history)
    with tqdm(
        total=recipe.epochs * len(splits["train"]), initial=fitting.epoch * len(splits["train"]),
        desc=entry.name, unit=" images", unit_scale=True, dynamic_ncols=True,
        disable=not together.first,
    ) as bar, keeping(bundle, description) as keep:  # fmt: skip

        def progress(n_images: int, loss: float) -> None:
            bar.set_postfix(loss=f"{loss:.4g}", refresh=False)
            bar.update(n_images)
            if together.first:
                painter.paint(bar.n / len(splits["train"]), history)

        for epoch in fitting.epochs(progress):
            if not together.first:
                continue
            if curve:
                epoch = dataclasses.replace(epoch, test={"psnr": metrics.mean_psnr(model, splits["test"].images)})
            history.append(epoch)
            seconds -= epoch.seconds
            args.watch.say(done=epoch.epoch, left=max(0.0, seconds))
            painter.paint(epoch.epoch, history, last=epoch.epoch == recipe.epochs)
            keep(fitting.state(), history)
    if together.first:
        bundle.write(
            "fit",
            checkpoints.fitted_files(
                model, description | cards.describe(entry, dataset.name, recipe, args.roster), history
            ),
        )
        bundle.state_file.unlink()


def changes(args: argparse.Namespace) -> dict[str, float]:
    """Give what the command line says in place of a recipe."""
    names = ("epochs", "batch_size", "learning_rate")
    return {name: value for name in names if (value := getattr(args, name)) is not None}


def new_fitting(
    config: ModelConfig, recipe: training.Recipe, splits: dict[str, ImageSet], args: argparse.Namespace
) -> training.Fitting:
    """Build a model from the seed, ready to be fitted."""
    torch.manual_seed(args.seed)
    # channels last is 10 to 15 % faster for these convolutions on the CPU and never slower
    model = config.build().to(args.device, memory_format=torch.channels_last)
    room = None if args.device_limit is None else args.device_limit * 1_000_000
    return training.Fitting(
        model, splits["train"], splits["validation"], recipe, args.seed, args.together, room,
        graph=not args.no_graph, precision=args.precision,
    )  # fmt: skip


def is_fitted(bundle: Bundle, description: Mapping[str, object], args: argparse.Namespace) -> bool:
    """Whether a run that goes on finds its model fitted, as it would be now.

    Raises:
        BundleError: it was fitted otherwise; the message says which fields.
    """
    if not args.resume or args.force or bundle.state_file.exists():
        return False
    stored = bundle.stored_description()
    if stored is not None and (differing := checkpoints.differences(stored, description)):
        raise BundleError(
            f"{bundle.folder} was made otherwise ({'; '.join(differing)}). Fit it anew with: {bundle.command()}"
        )
    return stored is not None


@contextmanager
def keeping(
    bundle: checkpoints.Stored, description: dict[str, object]
) -> Iterator[Callable[[training.State, list[training.Epoch]], None]]:
    """Keep the state after each epoch that it is called with: on the disk now and then, and the last one at the end.

    The end may be an interruption or an error. After `kill -9` or a power cut what was written last is there.
    """
    last, written = None, -math.inf

    def write() -> None:
        nonlocal last, written
        bundle.write_state(last[0], description, last[1])
        last, written = None, time.monotonic()

    def keep(state: training.State, history: list[training.Epoch]) -> None:
        nonlocal last
        last = state, list(history)
        if time.monotonic() - written >= STATE_EVERY:
            write()

    try:
        yield keep
    finally:
        if last:
            write()


def summary(bundle: Bundle, figures: dict[str, object]) -> str:
    """Say a model's test figures in one line, beside the reported ones."""
    shown = {
        "mse": "MSE {:.5f}", "psnr": "PSNR {:.2f} dB", "ssim": "SSIM {:.3f}",
        "negative_elbo": "-ELBO {:.2f} nats", "accuracy": "accuracy {:.4f}",
    }  # fmt: skip
    reported_figures = cards.model_card(bundle).reported
    parts = []
    for key, text in shown.items():
        if key in figures:
            reported = reported_figures.get(key)
            parts.append(text.format(figures[key]) + (f" (report: {reported:g})" if reported else ""))
    return f"{bundle.model}: test " + ", ".join(parts)


def print_figures(bundles: list[Bundle]) -> None:
    """Print what was measured of several models as one table."""
    rows = []
    for bundle in bundles:
        with suppress(BundleError):
            rows.append((bundle, bundle.metrics()))
    if len(rows) < 2:
        return
    line = "{:<14} {:>9} {:>9} {:>7} {:>12} {:>9} {:>9} {:>12} {:>7} {:>10}"
    print(line.format(
        "model", "accuracy", "MSE", "PSNR", "SSIM", "-ELBO", "best σ", "-ELBO then", "SWD", "best rung"
    ))  # fmt: skip
    for bundle, figures in rows:
        ladders = bundle.ladder() if bundle.has("ladder") else {}
        rungs = [ladders[f"swd/{rung}"].mean().item() for rung in ladder.RUNGS[:-1] if ladders]
        shown = (
            ("accuracy", ".4f"), ("mse", ".5f"), ("psnr", ".2f"), ("ssim", ".3f"), ("negative_elbo", ",.2f"),
            ("sigma_calibrated", ".4f"), ("negative_elbo_calibrated", ",.2f"),
        )  # fmt: skip
        cells = [format(figures[key], form) if key in figures else "" for key, form in shown]
        cells.append(f"{figures['swd']['mean']:.1f}" if "swd" in figures else "")
        print(line.format(bundle.model, *cells, f"{min(rungs):.1f}" if rungs else ""), flush=True)


def run(name: str, dataset: Dataset, splits: dict[str, ImageSet], root: Path, args: argparse.Namespace) -> None:
    """Run the wanted stages of one model, each on what the bundle then holds."""
    bundle = Bundle(dataset.name, name, root)
    start = time.perf_counter()
    with bundle.lock(lambda: say_busy(bundle)) if args.together.first else nullcontext():
        args.together.wait()  # for the lock: before it is held, what lies there is another run's
        if "fit" in args.only and not args.imported:
            fit(bundle, args.roster[name], dataset, splits, args)
        elif "fit" in args.only and args.together.first:
            found = importing.from_files(args.files, splits["test"], args.pixels, args.variational)
            importing.keep(bundle, found, dataset, splits)
            print(f"{name}: {found.summary}", flush=True)
        args.together.wait()  # for whole files, also before the next model's state is looked for
        if not args.together.first:
            return
        notes = later_stages(bundle, dataset, splits, args)
    try:
        line = summary(bundle, bundle.metrics())
    except BundleError:
        line = f"{name}: fitted, not measured; next: {bundle.command('metrics')}"
    print(f"{line}, {time.perf_counter() - start:.0f} s", flush=True)
    for note in notes:
        print(f"{name}: left out: {note}", file=sys.stderr)


def left_of(
    bundle: FamilyBundle, family: Family, dataset: Dataset, splits: dict[str, ImageSet], args: argparse.Namespace
) -> tuple[dict[str, object], list[Part], list[tuple[Part, Fit]]]:
    """Describe a family, say where its fittings keep what they have, and which of them this process has to do."""
    fits = [fit.on(dataset, changes(args)) for fit in family.fits]
    description = families.describe(bundle, family, fits, dataset, splits, args.seed)
    parts = families.parts(bundle, description)
    again = args.resume and not args.force
    if again and bundle.is_fitted_as(description):
        return description, [], []
    pairs = list(zip(parts, fits, strict=True))
    own = pairs[args.group.rank :: args.group.count] if args.shard_roster else pairs
    return description, parts, [(part, fit) for part, fit in own if not (again and part.is_done())]


def say_time(
    names: list[str], dataset: Dataset, splits: dict[str, ImageSet], root: Path, args: argparse.Namespace
) -> None:
    """Say how long it will take to fit several models and families, before the first begins."""
    seconds = 0.0
    for name in names:
        with suppress(BundleError, training.TooFew):  # said when it is its turn
            if name in FAMILIES:
                *_, left = left_of(FamilyBundle(dataset.name, name, root), FAMILIES[name], dataset, splits, args)
                seconds += expected_seconds(left, splits, args)
                continue
            _, fitting, *_ = begun(Bundle(dataset.name, name, root), args.roster[name], dataset, splits, args)
            seconds += training.expected_seconds(fitting) if fitting else 0.0
    print(f"{', '.join(names)}: about {watching.duration(seconds)} in all", flush=True)


def expected_seconds(left: list[tuple[Part, Fit]], splits: dict[str, ImageSet], args: argparse.Namespace) -> float:
    """Estimate how long fittings will take."""
    return sum(training.expected_seconds(new_fitting(fit.config, fit.recipe, splits, args)) for _, fit in left)


def fit_family(
    bundle: FamilyBundle, family: Family, dataset: Dataset, splits: dict[str, ImageSet], args: argparse.Namespace
) -> None:
    """Fit all members of a family under one progress bar, and write them together; what is done waits for --resume."""
    description, parts, left = left_of(bundle, family, dataset, splits, args)
    if not parts:
        print(f"{family.name}: is fitted already", flush=True)
        return
    seconds = expected_seconds(left, splits, args)
    print(f"{family.name}: {len(left)} of {len(parts)} fittings, about {watching.duration(seconds)}", flush=True)
    args.watch.say(doing="fitting", model=family.name, done=0, total=len(left), left=seconds)
    with tqdm(
        total=sum(fit.recipe.epochs for _, fit in left) * len(splits["train"]), desc=family.name, unit=" images",
        unit_scale=True, dynamic_ncols=True, disable=not args.group.first,
    ) as bar:  # fmt: skip
        for number, (part, fit) in enumerate(left, start=1):
            bar.set_description(f"{family.name}: {fit.name}")
            fit_part(part, fit, splits, args, bar)
            args.watch.say(done=number, left=seconds * (1 - number / len(left)))
    if args.shard_roster:
        args.group.wait()
    if args.group.first:
        longest = max(fit["architecture"].get("code") or 0 for fit in description["fits"])
        pca = families.principal(splits, longest) if family.dial == "length" else {}
        bundle.write_fitted(description, parts, pca)
        shutil.rmtree(parts[0].folder.parent)


def fit_part(part: Part, fit: Fit, splits: dict[str, ImageSet], args: argparse.Namespace, bar: tqdm) -> None:
    """Fit one member of a family, or the states of one, and keep them until the others are there."""
    fitting, description = new_fitting(fit.config, fit.recipe, splits, args), dict(part.description)
    history: list[training.Epoch] = []
    kept: dict[str, dict[str, torch.Tensor]] = {}
    if args.resume and part.state_file.exists() and not args.force:
        state, history = part.read_state(description)
        state, kept = families.without_members(state)
        if note := fitting.restore(state):
            print(f"{fit.name}: {note}", file=sys.stderr)
        bar.update(fitting.epoch * len(splits["train"]))
    elif 0 in fit.keep:
        before = training.evaluate(fitting.model, fitting.validation, fit.recipe, args.seed, args.together)
        history.append(training.Epoch(0, {}, before, 0.0, 0.0, 0))
        kept[f"{fit.name}@0"] = checkpoints.halved(fitting.model.state_dict())

    def progress(n_images: int, loss: float) -> None:
        bar.set_postfix(loss=f"{loss:.4g}", refresh=False)
        bar.update(n_images)

    with keeping(part, description) as keep:
        for epoch in fitting.epochs(progress):
            history.append(epoch)
            if epoch.epoch in fit.keep:
                kept[f"{fit.name}@{epoch.epoch}"] = checkpoints.halved(fitting.model.state_dict())
            if args.together.first:
                keep(families.with_members(fitting.state(), kept), history)
    if args.together.first:
        part.write_members(kept or {fit.name: checkpoints.halved(fitting.model.state_dict())}, history)
        part.state_file.unlink(missing_ok=True)


def run_family(name: str, dataset: Dataset, splits: dict[str, ImageSet], root: Path, args: argparse.Namespace) -> None:
    """Run the wanted stages of one family: fitting, and measuring with the codes of the gallery."""
    bundle, start = FamilyBundle(dataset.name, name, root), time.perf_counter()
    with bundle.lock(lambda: say_busy(bundle)) if args.group.first else nullcontext():
        args.group.wait()
        if "fit" in args.only:
            fit_family(bundle, FAMILIES[name], dataset, splits, args)
        if not args.group.first:
            return
        wanted = {"metrics", "projections"} & set(args.only)
        if wanted and (args.force or not args.resume or not bundle.is_measured()):
            bundle.check_test_images(splits["test"])
            args.watch.say(doing="measuring", model=name)
            config = bundle.config()
            judge = classifier_of(dataset, root) if config["family"]["dial"] == "class" else None
            found = dials.measure(
                config["family"]["dial"], config["fits"], bundle.tensors(), bundle.load(), splits, judge
            )
            bundle.write_measured(*found)
            index = gallery_indices(splits["test"].labels, dataset.gallery_size)
            stages.keep_gallery(root, dataset, index, splits["test"][index])
    print(f"{name}: {len(bundle.load())} members, {time.perf_counter() - start:.0f} s", flush=True)


def classifier_of(dataset: Dataset, root: Path) -> Classifier | None:
    """Load a classifier that was fitted on the same images, if there is one."""
    for name in cards.models(root, dataset.name):
        with suppress(BundleError):
            model = Bundle(dataset.name, name, root).load()
            if isinstance(model, Classifier):
                return model
    return None


def say_busy(bundle: checkpoints.Stored) -> None:
    """Tell why nothing happens."""
    print(f"{bundle.model}: another run is at work on {bundle.folder}; waiting for it", file=sys.stderr, flush=True)


def later_stages(bundle: Bundle, dataset: Dataset, splits: dict[str, ImageSet], args: argparse.Namespace) -> list[str]:
    """Measure a fitted model and project its codes, as far as is wanted; return what had to be left out, in words."""

    def wanted(stage: str, is_there: Callable[[], bool]) -> bool:
        return stage in args.only and (args.force or not args.resume or not is_there())

    measuring, projecting = wanted("metrics", bundle.is_measured), wanted("projections", bundle.is_projected)
    using, sampling, editing = (wanted(s, functools.partial(bundle.has, s)) for s in checkpoints.ASKED_FOR)
    model = bundle.load().to(args.device)
    if measuring or projecting or using or sampling or editing:
        bundle.check_test_images(splits["test"])
    if measuring:
        args.watch.say(doing="measuring", model=bundle.model)
        stages.measure(bundle, model, splits)
    if using:
        args.watch.say(doing="measuring", model=bundle.model)
        bundle.write_asked_for("uses", uses.measure(bundle, model, splits, dataset, args.data_dir))
    if sampling and ladder.makes_sense(model, splits["test"]):
        args.watch.say(doing="measuring", model=bundle.model)
        bundle.write_asked_for("ladder", ladder.measure(model, splits))
        model.to(args.device)
    if editing and edits.makes_sense(model, splits):
        args.watch.say(doing="measuring", model=bundle.model)
        bundle.write_asked_for("edits", edits.measure(model, splits, dataset.attributes))
    if not projecting:
        return []
    args.watch.say(doing="projecting", model=bundle.model)
    return stages.embed_gallery(bundle, model, splits, dataset)


def check_writable(folder: Path) -> None:
    """Find out before hours of training whether bundles can be kept.

    Raises:
        OSError: nothing can be written to the folder; the message names it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OSError(f"bundles cannot be written to {folder.resolve()}: {error.strerror}") from error


def run_all(args: argparse.Namespace, root: Path) -> int:
    """Run every chosen model; one that fails, or whose data are missing, is reported and the others still run.

    Of several processes that fit one model together none goes on alone: they end at the first failure.
    """
    failed: list[str] = []
    for name in list(args.work):
        check_writable(root / name)
        with watching.Watch(root / name, args.together.first) as args.watch:
            failures, go_on = run_dataset(name, root, args)
            failed += failures
            if failures:
                args.watch.say(doing="failed", reason=f"{', '.join(failures)}: see what train.py printed")
        if not go_on:
            return 1
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    args.group.wait()  # torchrun would end the others when one ends with code 1
    return 1 if failed else 0


def run_dataset(name: str, root: Path, args: argparse.Namespace) -> tuple[list[str], bool]:
    """Run the chosen models of a data set; give the names of those that failed, and whether others may go on."""
    try:
        dataset = own_images(args, name) if args.images else DATASETS[name]
        args.watch.say(title=dataset.title, models=tuple(args.work[name]))
        with in_turn(args.group):
            splits = load_splits(dataset, args.data_dir, args.dry_run)
            if args.shard_roster and args.group.first:  # one file of all models, so that one process writes it
                index = gallery_indices(splits["test"].labels, dataset.gallery_size)
                stages.keep_gallery(root, dataset, index, splits["test"][index])
    except (DataError, OSError) as error:
        print(f"train.py: {error}", file=sys.stderr, flush=True)
        args.watch.withdraw()
        return args.work[name], True
    if args.group.first:
        for note in splits["train"].notes:
            print(f"{dataset.title}: {note}", file=sys.stderr)
    models = args.work[name]
    print(f"{dataset.title} on {args.device} ({effort(args)}): {', '.join(models)}", flush=True)
    if len(models) > 1 and "fit" in args.only and not args.imported:
        say_time(models, dataset, splits, root, args)
    if args.shard_roster:  # processes share the roster, and the members of each family
        several = [model for model in models if model in FAMILIES]
        models = [m for m in models if m not in FAMILIES][args.group.rank :: args.group.count] + several
    failed = []
    for model in models:
        if ran(model, dataset, splits, root, args):
            args.watch.say(fitted=(*args.watch.status.fitted, model))
            continue
        failed.append(model)
        if args.together.count > 1:
            return failed, False
    print_figures([Bundle(name, model, root) for model in models if model not in FAMILIES])
    return failed, True


def effort(args: argparse.Namespace) -> str:
    """Say with what a device computes: threads and processes, or the type of numbers."""
    parts = [f"{torch.get_num_threads()} threads"] if args.device.type == "cpu" else []
    parts += [args.precision or default_precision(args.device)] if args.precision or not parts else []
    return ", ".join(parts + ([f"{args.group.count} processes"] if args.group.count > 1 else []))


@contextmanager
def in_turn(group: Processes) -> Iterator[None]:
    """Let the first process do something before the others: what it downloads or decodes is there for them."""
    if not group.first:
        group.wait()
    try:
        yield
    finally:
        if group.first:
            group.wait()


def ran(name: str, dataset: Dataset, splits: dict[str, ImageSet], root: Path, args: argparse.Namespace) -> bool:
    """Run one model; say why where it fails, with a traceback where that was not foreseen."""
    who = f"process {args.together.rank + 1} of {args.together.count}: " if args.together.count > 1 else ""
    try:
        (run_family if name in FAMILIES else run)(name, dataset, splits, root, args)
        return True
    except Exception as error:
        if not (reason := known_reason(error, name, root / dataset.name, args)):
            traceback.print_exc()
            reason = f"by a mistake in the program ({type(error).__name__}), see above"
        print(f"{who}{name}: failed: {reason}", file=sys.stderr, flush=True)
        return False
    finally:
        free_memory()


def known_reason(error: Exception, name: str, folder: Path, args: argparse.Namespace) -> str:
    """Say what a model failed of and what can be done about it; empty for an error that nobody foresaw."""
    text = str(error).partition("\n")[0]
    if isinstance(error, BundleError | DataError | ImportFault | NotInstalled):
        return f"{error}."
    if isinstance(error, training.Diverged | training.TooFew):
        return f"{error}. The bundle on disk is as it was."
    if isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in text:
        known = {**args.roster, **{family: FAMILIES[family].fits[0] for family in FAMILIES}}
        batch = args.batch_size or (known[name].recipe.batch_size if name in known else 2)
        return f"{args.device} is out of memory; try --batch-size {max(2, batch // 2)} ({text}). {KEPT}"
    if args.together.count > 1 and any(word in text for word in GONE):
        return f"another process is gone or hangs, its message says why ({text}). {KEPT}"
    if isinstance(error, OSError):
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        remedy = " Make room, or choose another folder with --checkpoints, and go on with --resume." if full else ""
        return f"{error.filename or folder}: {error.strerror or text}.{remedy} {KEPT}"
    return ""


@contextmanager
def terminable() -> Iterator[None]:
    """Turn SIGTERM into `Terminated`, so that it ends the run like Ctrl-C."""

    def end(*_: object) -> None:
        raise Terminated

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def work(args: argparse.Namespace) -> int:
    """Do what the command line asks for; return the exit code."""
    if args.list:
        print_roster()
        return 0
    if args.download:
        for dataset in [args.dataset] if args.dataset else args.work:
            download(DATASETS[dataset], args.data_dir)
        return 0
    if args.images:
        args.found = imagefolder.look(imagefolder.unpacked(args.images))
    processes.settle(args.threads or max(1, (os.cpu_count() or 1) // processes.on_this_machine()))
    args.group = processes.start(args.device)
    args.together = ALONE if args.shard_roster else args.group
    if not args.together.first:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    if not args.dry_run:
        code = run_all(args, args.checkpoints)
        if args.images and not code:
            where = "" if args.checkpoints == checkpoints.root_folder() else f"EXPLORER_CHECKPOINTS={args.checkpoints} "
            print(f"Open the app on them: {where}streamlit run app.py, then choose {next(iter(args.work))}", flush=True)
        return code
    args.epochs = 1
    with tempfile.TemporaryDirectory() as scratch:
        return run_all(args, Path(scratch))


def main(argv: list[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    arguments.speak_any_encoding()
    args = parse_arguments(argv)
    try:
        with terminable():
            return work(args)
    except (BundleError, DataError, NoGroup, OSError) as error:
        print(f"train.py: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt as error:
        how, code = ("terminated", 143) if isinstance(error, Terminated) else ("interrupted", 130)
        print(
            f"\n{how}: finished stages are kept, the bundle that was being fitted is as it was before, and its "
            "whole epochs wait for --resume",
            file=sys.stderr,
        )
        return code
    finally:
        processes.stop()


if __name__ == "__main__":
    sys.exit(main())
