"""The seven kinds of hostile input that `benchmarks.fuzz` tries: how each is made, tried and judged."""

import contextlib
import dataclasses
import functools
import json
import math
import multiprocessing
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import safetensors.torch
import torch
import torch.nn as nn
from PIL import Image

import explorer
import train
from benchmarks import mutations
from benchmarks.browser import ROOT
from benchmarks.mutations import shortened
from benchmarks.training import note
from explorer import cards, celeba, checkpoints, images
from explorer.checkpoints import ASKED_FOR, FITTED, STAGES, Bundle, BundleError
from explorer.families import FamilyBundle
from explorer.graph import Permute, Sum
from explorer.noise import NOISES
from explorer.roster import autoencoders_for, models_for

FORK = multiprocessing.get_context("fork")  # the libraries are there at once where a process has to be begun anew
FILES = tuple(name for names in STAGES.values() for name in names)
FACES = 120
IMPORTED = "theirs"


class Fault(AssertionError):
    """The program did with an input what it must not; the message says what."""


@dataclass(frozen=True)
class Case:
    """One input: how it was made, its files for `--keep`, and what its kind needs to try it."""

    how: str
    files: dict[str, bytes]
    what: Any = None


class Kind:
    """One kind of input.

    make(rng): one input. attempt(case): try it, and return the words with which it was refused, none where it was
    opened; any exception is a fault. start(): what a process does before its first input.
    """

    count: ClassVar[int]
    seconds: ClassVar[float]
    megabytes: ClassVar[int]  # beside the program itself

    def __init__(self, ground: "Ground"):
        self.ground = ground

    def start(self) -> None:
        """Get ready in the process that tries inputs."""

    def make(self, rng: random.Random) -> Case:
        """Make an input from nothing but `rng`."""
        raise NotImplementedError

    def attempt(self, case: Case) -> list[str]:
        """Try one input."""
        raise NotImplementedError

    def figures(self) -> dict[str, int]:
        """Count what else there is to say in the end."""
        return {}


class Ground:
    """A folder of its own in which everything happens: made-up faces, and bundles fitted for one epoch."""

    def __init__(self, folder: Path, root: Path | None = None):
        self.folder, self.given = folder, root
        self.environment = {
            "EXPLORER_DATA": str(folder / "data"), "EXPLORER_CACHE": str(folder / "cache"), "OMP_NUM_THREADS": "1",
        }  # fmt: skip

    @functools.cached_property
    def faces(self) -> Path:
        """The data folder; in it faces with tables in the official layout."""
        data, rng = self.folder / "data", np.random.default_rng(0)
        folder = data / celeba.FOLDER / "img_align_celeba"
        folder.mkdir(parents=True)
        for name in self.tables["list_eval_partition"]:
            Image.fromarray(rng.integers(0, 256, (5, 4, 3), np.uint8)).resize((178, 218)).save(folder / name)
        for table in self.tables:
            (folder.parent / f"{table}.txt").write_text(self.table(table, ".txt"), encoding="utf-8")
        return data

    @functools.cached_property
    def tables(self) -> dict[str, dict[str, list[int]]]:
        """The true rows of each table, by image."""
        rng, names = random.Random(0), [f"{i:06d}.jpg" for i in range(1, FACES + 1)]
        return {
            "list_eval_partition": {name: [(0, 0, 1, 2, 2, 2)[i % 6]] for i, name in enumerate(names)},
            "list_attr_celeba": {name: [rng.choice((-1, 1)) for _ in celeba.ATTRIBUTES] for name in names},
            "identity_CelebA": {name: [rng.randrange(1, 10_178)] for name in names},
        }

    def table(self, name: str, suffix: str) -> str:
        """Write a table as the official archive has it, or as Kaggle does."""
        attributes = name == "list_attr_celeba"
        columns = celeba.ATTRIBUTES if attributes else ("identity" if "identity" in name else "partition",)
        head = [",".join(("image_id", *columns))]
        if suffix == ".txt":
            head = [str(FACES), " ".join(columns)] if attributes else []
        rows = [(" " if suffix == ".txt" else ",").join([k, *map(str, v)]) for k, v in self.tables[name].items()]
        return "\n".join([*head, *rows]) + "\n"

    def bundles(self, dataset: str) -> Path:
        """Give a root of whole bundles; where none was given, fit those of a data set."""
        root = self.given or self.folder / "whole"
        if not (root / dataset).is_dir() and (not self.given or dataset == "digits"):
            note(f"fitting the models of {dataset} for one epoch")
            command = [sys.executable, "train.py", "--dataset", dataset, "--epochs", "1", "--device", "cpu"]
            where = ["--threads", "1", "--checkpoints", str(root), "--data-dir", str(self.faces)]
            environment = {**os.environ, **self.environment}
            subprocess.run([*command, *where], cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, check=True)
            if dataset == "digits":
                explorer.save(theirs(), IMPORTED, dataset, checkpoints=root)
        return root


def theirs() -> tuple[nn.Sequential, nn.Sequential]:
    """Make an encoder and a decoder as somebody else would, of layers that the roster's models do not have."""
    torch.manual_seed(0)
    encoder = [nn.Conv2d(1, 4, 5, 4), Sum([nn.Sequential(), nn.Sequential(nn.ELU())]), Permute((1, 2, 0)), nn.Flatten()]
    decoder = [nn.Linear(3, 49), nn.LayerNorm(49), nn.Unflatten(1, (1, 7, 7)), nn.Upsample(scale_factor=4)]
    return nn.Sequential(*encoder, nn.Linear(144, 3)), nn.Sequential(*decoder, nn.Sigmoid())


class Uploads(Kind):
    """Pictures, damaged or huge."""

    count, seconds, megabytes = 10_000, 10, 600

    def __init__(self, ground: Ground):
        super().__init__(ground)
        self.whole = mutations.whole_pictures()

    def make(self, rng: random.Random) -> Case:
        """Damage a small picture, or take a huge one."""
        how, data = rng.choice(list(self.whole.items()))
        if rng.random() < 0.01:
            how = rng.choice(list(mutations.LARGE))
            data = mutations.large_picture(how)
        elif rng.random() < 0.05:
            how, data = mutations.with_exif(rng, rng.choice(("PNG", "JPEG", "WEBP")))
        elif rng.random() < 0.98:
            for _ in range(rng.choice((1, 1, 2, 3))):
                damage, data = mutations.damaged(data, rng, rng.choice(list(self.whole.values())))
                how = f"{how}; {damage}"
            if data[:4] == b"\x89PNG" and rng.random() < 0.5:
                how, data = f"{how}; checksums made right", mutations.with_checksums(data)
        what = {"image_shape": rng.choice(((1, 28, 28), (3, 64, 64))), "invert": rng.random() < 0.5}
        by_hand = rng.random() < 0.5
        return Case(f"{how}; {'cropped' if by_hand else 'read'} with {what}", {"upload": data}, (by_hand, what))

    def attempt(self, case: Case) -> list[str]:
        """Read a picture, at once or as the page with the crop by hand does."""
        (by_hand, what), data = case.what, case.files["upload"]
        try:
            if by_hand:
                picture = images.read_picture(data)
                x = images.fit_picture(picture, crop=images.middle_square(picture), **what)
            else:
                x = images.read_upload(data, **what)
        except images.ImageError as error:
            return [str(error)]
        if x.shape != what["image_shape"] or x.dtype != np.float32 or not (0 <= x.min() <= x.max() <= 1):
            raise Fault(f"opened as {x.dtype} {x.shape} in [{x.min()}, {x.max()}]")
        return []


class Bundles(Kind):
    """Bundles of digits, one of them damaged."""

    count, seconds, megabytes = 2000, 60, 1200

    def __init__(self, ground: Ground):
        super().__init__(ground)
        self.whole = ground.bundles("digits") / "digits"
        self.names = [name for name in (*models_for("digits"), IMPORTED) if (self.whole / name).is_dir()]
        self.root = ground.folder / "damaged"

    def start(self) -> None:
        """Copy the bundles and let the app show them."""
        os.environ["EXPLORER_CHECKPOINTS"] = str(self.root)
        shutil.copytree(self.whole, self.root / "digits", dirs_exist_ok=True)

    def make(self, rng: random.Random) -> Case:
        """Damage one to three files of a model, or the list of gallery images."""
        model = rng.choice(self.names)
        other = rng.choice([name for name in autoencoders_for("digits") if name != model])
        files = {name: (self.whole / model / name).read_bytes() for name in FILES}
        changed: dict[str, bytes | str] = {}
        words = []
        picked = set(rng.choices((*FILES, "../gallery.json"), k=rng.choice((1, 1, 2, 3))))
        for name in sorted(picked, key=lambda name: name != "model.safetensors"):
            data = files.get(name) or (self.whole / "gallery.json").read_bytes()
            foreign = (self.whole / other / name).read_bytes()
            how, changed[name] = self._damaged(name, data, foreign, rng)
            words.append(f"{name} {how}")
            if name == "model.safetensors" and isinstance(changed[name], bytes) and rng.random() < 0.6:
                files = mutations.with_digest(files | {name: changed[name]})
                changed |= {n: files[n] for n in FILES if n not in FITTED or n == "config.json"}
                words.append("named by the other files")
        params = {"model": model, "models": model, "judge": model, "makers": model, "plain": model}
        page = rng.choice(pages())
        how = f"{model} with {'; '.join(words)}; page {page}; {other} beside it"
        files = {Path(name).name: data for name, data in changed.items() if isinstance(data, bytes)}
        return Case(how, files, (model, other, changed, page, params))

    def _damaged(self, name: str, data: bytes, foreign: bytes, rng: random.Random) -> tuple[str, bytes | str]:
        """Damage a file in a way of its own, as any bytes, or as a thing in a folder, one of `NO_FILES`."""
        reshape = {".json": mutations.reshaped_json, ".csv": mutations.reshaped_csv}
        way = rng.random()
        if way < 0.6:
            return reshape.get(Path(name).suffix, mutations.reshaped_tensors)(data, rng)
        if way < 0.7:
            return "of another model", foreign
        return (rng.choice(list(NO_FILES)),) * 2 if way < 0.8 else mutations.damaged(data, rng, foreign)

    def attempt(self, case: Case) -> list[str]:
        """Read everything, then open a page on the damaged model and one on another."""
        model, other, changed, page, params = case.what
        folder = self.root / "digits" / model
        try:
            for name, data in changed.items():
                put(folder / name, data)
            refusals = read_all(Bundle("digits", model, self.root))
            shown = open_page(page, params)
            if "../gallery.json" not in changed:  # which is of all models
                if wrong := read_all(Bundle("digits", other, self.root)):
                    raise Fault(f"{other}, which is whole, is refused: {wrong[0]}")
                beside = open_page("reconstruct", {"models": other})
                if not beside.code or beside.error or beside.warning:
                    raise Fault(f"{other}, which is whole, is not shown: {told(beside)}")
            return refusals + told(shown)
        finally:
            shutil.rmtree(folder)
            shutil.copytree(self.whole / model, folder)
            remove(self.root / "digits" / "gallery.json")
            shutil.copy2(self.whole / "gallery.json", self.root / "digits")


class Families(Bundles):
    """Families, and what models are good for, as they are committed; files of one of them damaged."""

    count, seconds, megabytes = 1000, 60, 2000

    def __init__(self, ground: Ground):
        Kind.__init__(self, ground)
        self.whole, self.root = ground.given or ROOT / "checkpoints", ground.folder / "families"
        self.bundles: list[Bundle | FamilyBundle] = []
        for name in cards.datasets(self.whole):
            self.bundles += [FamilyBundle(name, family, self.whole) for family in cards.families(self.whole, name)]
            used = (Bundle(name, model, self.whole) for model in cards.models(self.whole, name))
            self.bundles += [bundle for bundle in used if bundle.has("uses")]

    def start(self) -> None:
        """Copy all that lies beside them, and let the app show it."""
        os.environ["EXPLORER_CHECKPOINTS"] = str(self.root)
        for name in {bundle.dataset for bundle in self.bundles}:
            shutil.copytree(self.whole / name, self.root / name, dirs_exist_ok=True)

    def make(self, rng: random.Random) -> Case:
        """Damage one to three files of a family, or what a model is good for."""
        bundle = rng.choice(self.bundles)
        of_family = isinstance(bundle, FamilyBundle)
        page = DIAL_PAGES[bundle.config()["family"]["dial"]] if of_family else rng.choice(("use_it", "elbo"))
        alike = [other for other in self.bundles if other != bundle and type(other) is type(bundle)]
        changed: dict[str, bytes | str] = {}
        words = []
        for name in sorted(
            set(rng.choices(bundle.files if of_family else ASKED_FOR["uses"], k=rng.choice((1, 1, 2, 3))))
        ):
            data = (bundle.folder / name).read_bytes()
            foreign = (rng.choice(alike).folder / name).read_bytes() if alike else data[::-1]
            how, changed[name] = self._damaged(name, data, foreign, rng)
            words.append(f"{name} {how}")
        how = f"{bundle.model} on {bundle.dataset} with {'; '.join(words)}; page {page}"
        files = {name: data for name, data in changed.items() if isinstance(data, bytes)}
        return Case(how, files, (dataclasses.replace(bundle, root=self.root), changed, page))

    def attempt(self, case: Case) -> list[str]:
        """Read everything, then open the page that shows it."""
        bundle, changed, page = case.what
        own = bundle.figures if isinstance(bundle, FamilyBundle) else bundle.uses
        try:
            for name, data in changed.items():
                put(bundle.folder / name, data)
            refusals = refused([bundle.config, bundle.load, bundle.history, bundle.codes, own])
            return refusals + told(open_page(page, {"dataset": bundle.dataset, "model": bundle.model}))
        finally:
            shutil.rmtree(bundle.folder)
            shutil.copytree(self.whole / bundle.dataset / bundle.model, bundle.folder)


DIAL_PAGES = {"length": "length", "beta": "beta", "epoch": "time", "class": "class_and_style"}

NO_FILES: dict[str, Callable[[Path], Any]] = {
    "is missing": lambda path: None,
    "is a folder": Path.mkdir,
    "is a link to itself": lambda path: path.symlink_to(path.name),
    "is a pipe": os.mkfifo,
    "is a device": lambda path: path.symlink_to("/dev/zero"),
}


def put(path: Path, data: bytes | str) -> None:
    """Put a file in the place of another, or one of `NO_FILES`."""
    remove(path)
    NO_FILES[data](path) if isinstance(data, str) else path.write_bytes(data)


def remove(path: Path) -> None:
    """Remove whatever `put` has put there."""
    shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink(missing_ok=True)


def read_all(bundle: Bundle) -> list[str]:
    """Call every reader of a bundle and of its gallery; return the words of those that refuse."""
    readers = [bundle.config, bundle.load, bundle.history, bundle.metrics, bundle.codes]
    return refused([*readers, lambda: checkpoints.read_gallery(bundle.root, bundle.dataset)])


def refused(readers: Sequence[Callable[[], Any]]) -> list[str]:
    """Call readers; return the words of those that refuse."""
    refusals = []
    for read in readers:
        try:
            read()
        except BundleError as error:
            refusals.append(str(error))
    return refusals


def pages() -> list[str]:
    """Name the pages of the app."""
    from explorer.ui.frame import PAGES

    return list(PAGES)


def open_page(key: str, params: dict[str, Any]) -> Any:
    """Open a page of the app; an exception on it is a fault."""
    from streamlit.components.v2 import manifest_scanner
    from streamlit.testing.v1 import AppTest

    from explorer.ui.frame import PAGES

    search = manifest_scanner.scan_component_manifests  # of every package installed, longer than most pages take
    if not hasattr(search, "cache_info"):
        manifest_scanner.scan_component_manifests = functools.cache(search)
    app = AppTest.from_file(ROOT / "app.py", default_timeout=50)
    if PAGES[key].file != "app.py":
        app.switch_page(PAGES[key].file)
    for name, value in params.items():
        app.query_params[name] = value
    app.run()
    for exception in app.exception:
        where = [line for line in exception.stack_trace if "site-packages" not in line]
        raise Fault(f"page {key}: {exception.message} {' '.join(where[-1:])}")
    return app


def told(app: Any) -> list[str]:
    """List what a page says instead of showing something."""
    return [element.value for kind in ("error", "warning") for element in app.get(kind)]


class Tables(Kind):
    """Tables of faces, damaged or as other programs write them."""

    count, seconds, megabytes = 2000, 10, 300

    def __init__(self, ground: Ground):
        super().__init__(ground)
        self.folder = ground.faces / celeba.FOLDER

    def make(self, rng: random.Random) -> Case:
        """Damage one table, in either layout, or write it otherwise."""
        table, suffix = rng.choice(list(self.ground.tables)), rng.choice((".txt", ".csv"))
        text = self.ground.table(table, suffix)
        if rng.random() < 0.05:
            how = rng.choice([words for words in NO_FILES if words != "is missing"])
            return Case(f"{table}{suffix} {how}", {}, (table, suffix, how, set(), False))
        if rng.random() < 0.4:
            how, data = rng.choice(list(self._otherwise(text, suffix, table, rng)))
            whole = set(self.ground.tables[table])
        else:
            if rng.random() < 0.5:
                other = self.ground.table(rng.choice(list(self.ground.tables)), rng.choice((".txt", ".csv")))
                how, data = mutations.damaged(text.encode(), rng, other.encode())
            else:
                how, data = mutations.reshaped_csv(text.encode(), rng, "," if suffix == ".csv" else " ")
            whole = self._whole(text, data.decode(errors="replace"), suffix)
        beside = rng.random() < 0.2
        how = f"{table}{suffix} {how}{', a whole one in the other layout beside it' if beside else ''}"
        return Case(how, {f"{table}{suffix}": data}, (table, suffix, data, whole, beside))

    def _whole(self, text: str, changed: str, suffix: str) -> set[str]:
        """Name the images whose row is as it was and the only one that speaks of them; none under another header."""
        lines = changed.split("\n")
        heads = 2 if "5_o_Clock" in text and suffix == ".txt" else suffix == ".csv"
        if lines[:heads] != text.split("\n")[:heads]:
            return set()
        named = Counter(name for line in lines for name in re.findall(r"\d{6}", line))
        rows = set(lines) & set(text.split("\n")[heads:])
        return {name for row in rows for name in re.findall(r"^\d{6}\.jpg", row) if named[name[:6]] == 1}

    def _otherwise(self, text: str, suffix: str, table: str, rng: random.Random) -> Iterator[tuple[str, bytes]]:
        """Write a table as other programs do, so that each row means what it did."""
        between = " " if suffix == ".txt" else ","
        lines = text.splitlines()
        yield "with a byte-order mark", text.encode("utf-8-sig")
        for encoding in ("utf-16", "utf-16-le", "utf-32"):
            yield f"in {encoding}", text.encode(encoding)
        for name, end in (
            ("CRLF", "\r\n"),
            ("CR", "\r"),
            ("blank lines between", "\n\n"),
            ("blanks at the ends", "  \n"),
        ):
            yield f"with {name}", end.join([*lines, ""]).encode()
        yield "without the last end of line", text.rstrip("\n").encode()
        yield "with blank lines after it", f"{text}\n\n{between if suffix == '.csv' else ''}\n".encode()
        yield "with blank lines before it", f"\n\n{text}".encode()
        for delimiter in ("\t", "  ", ";", ", ", "|") if suffix == ".csv" else ("\t", "   "):
            yield f"with {delimiter!r} between columns", text.replace(between, delimiter).encode()
        for new in (".png", ".JPG", ".jpeg", ""):
            yield f"with {new!r} for .jpg", text.replace(".jpg", new).encode()
        if suffix == ".csv":
            yield (
                "with an index before it",
                "".join(f"{i - 1 if i else ''},{x}\n" for i, x in enumerate(lines)).encode(),
            )
            yield "quoted", "".join(",".join(f'"{c}"' for c in x.split(",")) + "\n" for x in lines).encode()
            yield "with a comma after each row", "".join(f"{x},\n" for x in lines).encode()
            yield "with floats", re.sub(r",(-?\d+)(?=[,\n])", r",\1.0", text).encode()
            if table == "list_attr_celeba":
                booleans = re.sub(r",1(?=[,\n])", ",True", re.sub(r",-1(?=[,\n])", ",False", text))
                yield "with True and False", booleans.encode()
                yield "with 0 for -1", re.sub(r",-1(?=[,\n])", ",0", text).encode()

    def attempt(self, case: Case) -> list[str]:
        """Read the folder with the table in it, and compare what whole rows say."""
        table, suffix, data, whole, beside = case.what
        paths = {s: self.folder / f"{table}{s}" for s in (".txt", ".csv")}
        try:
            for other, path in paths.items():
                remove(path)
                if other == suffix or beside:
                    put(path, data if other == suffix else self.ground.table(table, other).encode())
            faces = celeba.read(self.ground.faces)
        except celeba.FacesError as error:
            if table not in str(error):
                raise Fault(f"does not name the file: {error}") from error
            return [str(error)]
        finally:
            remove(paths[".csv"])
            put(paths[".txt"], self.ground.table(table, ".txt").encode())
        if (beside or data.strip()) and any("there is no" in text for text in faces.notes):
            raise Fault("a table that is there is told as none")
        read = {"list_eval_partition": faces.partition[:, None], "list_attr_celeba": 2 * faces.attributes - 1}
        found = read.get(table, faces.identities[:, None])
        for name, values in zip(faces.names, found.tolist(), strict=True):
            if name in whole and values != self.ground.tables[table][name]:
                wanted = self.ground.tables[table][name]
                raise Fault(f"{name} is read as {values[:3]}, though its row is whole and says {wanted[:3]}")
        return []


class Addresses(Kind):
    """Addresses of every page with hostile parameters."""

    count, seconds, megabytes = 5000, 60, 1500

    def __init__(self, ground: Ground):
        super().__init__(ground)
        for dataset in ("digits", "celeba"):
            os.environ["EXPLORER_CHECKPOINTS"] = str(ground.bundles(dataset))
        self.names, self.options = self._known()

    def _known(self) -> tuple[list[str], list[str]]:
        """Collect the names of parameters, some with a place for an option, and the options of all pages."""
        sources = [ROOT / "app.py", *(ROOT / "pages").glob("*.py"), *(ROOT / "explorer" / "ui").glob("*.py")]
        text = "".join(path.read_text(encoding="utf-8") for path in sources)
        found = re.findall(r'\bkey=f?"([^"]+)"|query_params[^"\n]{0,20}"(\w+)"', text)
        names = {re.sub(r"\{.*?\}", "{}", a or b) for a, b in found}
        options = {*NOISES, *models_for("digits"), *models_for("celeba")}
        for key in pages():
            app = open_page(key, {})
            names |= set(app.session_state.to_dict())
            for kind in ("selectbox", "multiselect", "button_group"):
                options |= {str(option) for element in app.get(kind) for option in element.options}
            options |= {tab.label for tab in app.tabs}
        return sorted(names), sorted(options)

    def make(self, rng: random.Random) -> Case:
        """Take a page, one to eight parameters, and for each a hostile text, an option of any, or several."""
        key = rng.choice(pages())
        params: dict[str, Any] = {}
        for name in rng.sample(self.names, rng.choice((1, 2, 3, 8, len(self.names)))):
            values = [self._value(rng) for _ in range(rng.choice((1, 1, 1, 2, 5)))]
            params[name.replace("{}", rng.choice(self.options))] = values if len(values) > 1 else values[0]
        if rng.random() < 0.7:
            params["dataset"] = "celeba" if key == "attributes" else rng.choice(("digits", "celeba"))
        words = "&".join(f"{k}={v if isinstance(v, list) else shortened(v)}" for k, v in params.items())
        return Case(f"{key}?{words}"[:2000], {"address.json": json.dumps([key, params]).encode()}, (key, params))

    def _value(self, rng: random.Random) -> str:
        if rng.random() < 0.4:
            return rng.choice(self.options)
        return rng.choice((",", "-", ":", ";")).join(rng.choices(mutations.TEXTS, k=rng.choice((1, 1, 1, 1, 2))))

    def attempt(self, case: Case) -> list[str]:
        """Open the page."""
        app = open_page(*case.what)
        return [] if app.code else told(app) + [element.value for element in app.info]


class Strangers(Kind):
    """What a stranger sends to the page that phones join a room by, while another room votes."""

    count, seconds, megabytes = 10_000, 60, 1500
    ways = ("a code", "a code", "a code", "a key", "a vote", "a vote", "an answer")

    def start(self) -> None:
        """Open a room in which one phone has voted; waits are counted and not waited for."""
        from explorer.ui import rooming

        os.environ["EXPLORER_CHECKPOINTS"] = str(ROOT / "checkpoints")
        os.environ["EXPLORER_DATABASE"] = f"sqlite:///{self.ground.folder}/rooms-{os.getpid()}.sqlite"
        self.waits: list[float] = []
        clock = type("Clock", (), {"sleep": self.waits.append, "monotonic": time.monotonic})
        rooming.time, rooming.from_where = clock, lambda: "the hall"
        self.there = rooming.all_rooms()
        self.room, self.key = self.there.open("autoencoders.en", "lecturer")
        self.there.move(self.room.code, "lecturer", 1, "predict")
        self.there.join(self.room.code, "somebody")
        self.there.vote(self.room.code, 1, "before", "somebody", 2)
        self.room = self.there.find(self.room.code)

    def make(self, rng: random.Random) -> Case:
        """Choose a way in, and what is sent."""
        way = rng.choice(self.ways)
        texts = [rng.choice((*mutations.TEXTS, *MARKUP)) * rng.choice((1, 1, 1, 3)) for _ in range(4)]
        value = rng.choice(
            (texts[0], None, True, -1, 10**30, 1e308, math.nan, [texts[1]], [[0]], {"value": 1}, [0.5] * 500)
        )
        return Case(
            f"{way}: {shortened(texts[0])}", {"sent.txt": repr(texts).encode(errors="replace")}, (way, texts, value)
        )

    def attempt(self, case: Case) -> list[str]:
        """Send it, and look at what everybody else sees."""
        way, texts, value = case.what
        said = getattr(self, f"_{way.split()[1]}")(texts, value)
        there = self.there
        if there.find(self.room.code) != self.room or not there.leads(self.room.code, "lecturer"):
            raise Fault("the room of others was moved")
        if (
            there.votes(self.room.code, 1, "before") != [2]
            or there.own_vote(self.room.code, 1, "before", "somebody") != 2
        ):
            raise Fault("the votes of others were changed")
        return said

    def _code(self, texts: list[str], value: Any) -> list[str]:
        app = open_page("lesson", {"room": texts[0]} if texts[0] else {"room": "?"})
        self._must_wait()
        return self._said(app, texts)

    def _key(self, texts: list[str], value: Any) -> list[str]:
        app = open_page("lesson", {"lead": self.room.code})
        for field, text in zip(app.text_input, (self.room.code, texts[0][:40]), strict=True):
            field.set_value(text)
        [button] = [button for button in app.button if button.label == "Lead the room"]
        button.click().run()
        return self._said(app, texts)

    def _vote(self, texts: list[str], value: Any) -> list[str]:
        sent = [(self.room.code, 1, "before", texts[0], 1), (texts[0], 1, texts[1], "somebody", 1),
                (self.room.code, 1, texts[1], "somebody", 1), (self.room.code, 2, "before", "somebody", 1)]  # fmt: skip
        if any(self.there.vote(*one) for one in sent):
            raise Fault("a vote counted that must not")
        if self.there.take_over(self.room.code, texts[0], texts[1]) or self.there.leads(self.room.code, texts[1]):
            raise Fault("a stranger leads")
        return ["no"]

    def _answer(self, texts: list[str], value: Any) -> list[str]:
        from explorer.lessons import voting
        from explorer.ui.stepping import lessons

        for step in lessons()["autoencoders.en"].steps:
            found = voting.accepted(step.prediction, value, 9)
            json.dumps(found, allow_nan=False)
            voting.from_text(step.prediction, texts[0], 9)
        answer = [f"{rng}~before~{text}" for rng, text in enumerate(texts, 1)]
        return self._said(open_page("lesson", {"lesson": "autoencoders.en", "step": "14", "answer": answer}), texts)

    def _must_wait(self) -> None:
        if len(self.waits) > 10 and not self.waits[-1] > 0:
            raise Fault("wrong codes were not slowed down")

    def _said(self, app: Any, texts: list[str]) -> list[str]:
        """List what the page says; what was sent must not be in it as markup."""
        shown = [e.value for kind in ("markdown", "caption", "info", "warning") for e in app.get(kind)]
        shown += [element.proto.body for element in app.get("html")]
        for text in texts:
            if len(text) > 3 and re.search(r"[<\[]", text) and any(text in words for words in shown):
                raise Fault("what was sent is shown as markup")
        return told(app) or [element.value for element in app.info]


MARKUP = (
    "<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "[a](javascript:alert(1))", "![](https://example.org/a)",
    "' OR '1'='1", "AAAAAA", "\N{RIGHT-TO-LEFT OVERRIDE}AAAAAA", "$$\\href{javascript:1}{x}$$", ":material/home:",
)  # fmt: skip
MOST_SECONDS = {"train.py": 25, "training": 15, "writing": 0.5}


class Kills(Kind):
    """SIGKILL while a model is trained or its bundle written."""

    count, seconds, megabytes = 100, 120, 1200

    def __init__(self, ground: Ground):
        super().__init__(ground)
        whole = ground.bundles("digits") / "digits"
        self.root = ground.folder / "killed"
        self.bundle = Bundle("digits", "fc-ae", self.root)
        shutil.copytree(whole / "fc-ae", self.bundle.folder)
        shutil.copy2(whole / "gallery.json", self.root / "digits")
        first = {name: (self.bundle.folder / name).read_bytes() for name in FILES}
        weights = safetensors.torch.load(first["model.safetensors"])
        other = safetensors.torch.save({name: tensor.flip(0) for name, tensor in weights.items()})
        self.versions = [first, mutations.with_digest(first | {"model.safetensors": other})]
        self.command = ["fc-ae", "--dataset", "digits", "--epochs", "12", "--threads", "1", "--device", "cpu"]
        self.command += ["--checkpoints", str(self.root)]
        self.seen = ground.folder / "seen"
        self.reads = FORK.Value("q")

    def _train(self, *more: str) -> int:
        sys.modules["umap"] = None  # its threads do not survive that a process forks
        return train.main([*self.command, *more])

    def _program(self, *more: str) -> int:
        os.chdir(ROOT)
        os.execv(sys.executable, [sys.executable, "train.py", *self.command, *more])

    def start(self) -> None:
        """Let another process read all the time."""
        self.seen.touch()
        run_apart(self._read, os.getpid())

    def _read(self, parent: int) -> int:
        """Write down each refusal and other error, until the process that began this is gone."""
        with self.seen.open("a", buffering=1, encoding="utf-8") as file:
            while os.getppid() == parent:
                for words in self._refusals():
                    print(words, file=file)
                self.reads.value += 1
        return 0

    def _refusals(self) -> list[str]:
        """Read all; what a stage has yet to make anew, as fitting dropped it, is not counted."""
        later = [name for stage, names in STAGES.items() if stage != "fit" for name in names]
        try:
            return [w for w in read_all(self.bundle) if not any(f"{name} is missing" in w for name in later)]
        except Exception as error:
            return [repr(error)]

    def figures(self) -> dict[str, int]:
        """Count how often everything was read meanwhile."""
        return {"reads": self.reads.value}

    def make(self, rng: random.Random) -> Case:
        """Choose what is killed and when: whole runs in a process of their own, runs without the start, or writers."""
        way = rng.choice(list(MOST_SECONDS))
        more = ["--resume"] if rng.random() < 0.5 else []
        seconds = MOST_SECONDS[way] * rng.random() ** 2  # how long a run takes, this machine knows; begun it has
        return Case(f"{way} {' '.join(more)} killed after {seconds:.6f} s", {}, (way, more, seconds))

    def _write(self, *_: str) -> int:
        """Write one version after the other, stage by stage, for ever."""
        while True:
            for files in self.versions:
                for stage, names in STAGES.items():
                    self.bundle.write(stage, {name: files[name] for name in names})

    def attempt(self, case: Case) -> list[str]:
        """Start, kill, and read."""
        way, more, seconds = case.what
        ways = {"train.py": self._program, "training": self._train, "writing": self._write}
        more = more if self.bundle.state_file.exists() else []  # a whole bundle of fewer epochs is no run to resume
        if code := wait(run_apart(ways[way], *more), seconds):
            raise Fault(f"ended by itself with exit code {code}")
        refusals = self._refusals()
        seen, _ = self.seen.read_text(encoding="utf-8"), self.seen.write_text("", encoding="utf-8")
        if refusals or seen:
            found = (refusals or ["whole"])[0], (seen.splitlines() or ["whole"])[0]
            raise Fault(f"after the kill: {found[0]}; who read meanwhile: {found[1]}")
        return []


def run_apart(work: Callable[..., int | None], *arguments: Any) -> int:
    """Run something in a forked process without output; return the process's number."""
    if process := os.fork():
        return process
    code = 1
    with contextlib.suppress(BaseException):
        silence()
        code = work(*arguments) or 0
    os._exit(code)


def silence() -> None:
    """Send what this process prints nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(nowhere, stream)


def wait(process: int, seconds: float = math.inf) -> int | None:
    """Wait for a process and return its exit code; kill it after some seconds, then there is none."""
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        gone, status = os.waitpid(process, os.WNOHANG)
        if gone:
            return os.waitstatus_to_exitcode(status)
        time.sleep(min(0.001, max(0.0, end - time.perf_counter())))
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)
    return None


KINDS: dict[str, type[Kind]] = {
    "uploads": Uploads, "bundles": Bundles, "families": Families, "tables": Tables, "addresses": Addresses,
    "kills": Kills, "strangers": Strangers,
}  # fmt: skip
