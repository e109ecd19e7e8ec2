"""One HTML file of an exported page: shell, styles, scripts, weights; it forbids itself every request."""

import base64
import gzip
import hashlib
import json
import tomllib
from collections.abc import Sequence
from html import escape
from pathlib import Path
from string import Template

from explorer import language, layers
from explorer.export.contents import Contents
from explorer.language import say
from explorer.ui import components
from explorer.ui.frame import PAGES, View
from explorer.ui.opening import Opened

HERE = Path(__file__).parent
CONFIG = HERE.parent.parent / ".streamlit" / "config.toml"
LIBRARIES = ("say", "network", "drawing", "row", "regions")
# Smaller layers than this keep what float16 takes from them: without, conv-vae is up to 1.04 grey levels off at the rim
# of its plane and conv-ae-128 0.51 on the gallery; with it, fc-ae is the furthest off, by 0.25, for 0.2 MB at most.
EXACT_BELOW = 40_000
COMPONENT = "export default function (component) {"


def document(view: View, contents: Contents, back: str = "") -> bytes:
    """Write an exported page; back: the address of the view in the app that it was made from, if that is known.

    Raises:
        BundleError: a model cannot be read.
        Unsupported: a model has layers that do not run in a browser.
    """
    page, kinds = PAGES[contents.scene["page"]], _kinds(contents)
    scene = contents.scene | {
        "language": language.current(),
        "styles": {kind: components.styles(*LIBRARIES, kind, "parts") for kind in kinds},
    }
    packed = [_packed(_networks(view.bundle(model), names)) for model, names in contents.networks.items()]
    if contents.codes is not None:
        packed.append(_packed(contents.codes.astype("<f4").tobytes(), ' id="codes"'))
    script, style = _script(kinds), _theme() + components.styles("offline")
    text = Template((HERE / "page.html").read_text(encoding="utf-8")).substitute(
        policy="; ".join([
            "default-src 'none'", f"script-src {_hash(script)} 'wasm-unsafe-eval'", f"style-src {_hash(style)}",
            "img-src data:", "base-uri 'none'", "form-action 'none'",
        ]),
        language=language.current(), title=escape(say(page.title)), question=escape(say(page.question)),
        look_for_this=escape(say("Look for this.")), look_for=escape(say(page.look_for)),
        needs_javascript=escape(say("This page draws with JavaScript, which is switched off.")),
        hint=escape(say(contents.hint)), origin=_origin(view, contents, back), look=contents.look,
        scene=json.dumps(scene, separators=(",", ":")).replace("<", "\\u003c"),
        packed="\n".join(packed), style=style, script=script,
    )  # fmt: skip
    return text.encode()


def _kinds(contents: Contents) -> list[str]:
    """Name the components of the page, also those that offline.js adds by itself."""
    kinds = [part["kind"] for part in contents.scene["parts"]]
    more = ["near"] if contents.look == "near-by" else ["picker"] if contents.scene["sheet"] else []
    return list(dict.fromkeys([*kinds, *more]))


def _script(kinds: Sequence[str]) -> str:
    """Join libraries, components and offline.js in one scope, each component in one of its own."""
    libraries = "".join(components.script(name) for name in LIBRARIES).replace("\nexport ", "\n")
    parts = []
    for kind in kinds:
        source = components.script(kind)
        if source.count(COMPONENT) != 1:
            raise ValueError(f"{kind}.js does not have one line {COMPONENT!r}")
        parts.append(
            f"KINDS.{kind} = (() => {{\n{source.replace(COMPONENT, 'const start = function (component) {')}"
            "\nreturn start;\n})();\n"
        )
    source = f"{libraries}const KINDS = {{}};\n{''.join(parts)}{components.script('offline')}"
    return components.said(source, [language.current()])


def _networks(bundle: Opened, names: Sequence[str]) -> bytes:
    networks = bundle.load().networks()
    return layers.pack(bundle.identity, {name: networks[name] for name in names}, half=True, exact_below=EXACT_BELOW)


def _packed(content: bytes, attributes: str = "") -> str:
    """Pack bytes into an element: even ones before odd ones, which takes 7 % off half-precision weights, then gzip."""
    assert len(content) % 2 == 0
    packed = gzip.compress(content[::2] + content[1::2], 9, mtime=0)
    return f'<script type="application/octet-stream"{attributes}>{base64.b64encode(packed).decode()}</script>'


def _theme() -> str:
    """Define the variables that Streamlit gives components, from the app's own configuration."""
    theme = tomllib.loads(CONFIG.read_text(encoding="utf-8"))["theme"]

    def block(colours: dict[str, str]) -> str:
        return (
            f"--st-primary-color: {colours['primaryColor']}; --st-background-color: {colours['backgroundColor']}; "
            f"--st-secondary-background-color: {colours['secondaryBackgroundColor']}; "
            f"--st-text-color: {colours['textColor']}; --st-border-color: {colours['textColor']}44;"
        )

    dark = block(theme["dark"])
    return (
        f":root {{ {block(theme['light'])} --st-font: system-ui, {theme['font']}; "
        f"--st-base-radius: {theme['baseRadius']}; }}\n"
        f"@media (prefers-color-scheme: dark) {{ :root:not([data-theme=light]) {{ {dark} }} }}\n"
        f":root[data-theme=dark] {{ {dark} color-scheme: dark; }}\n:root[data-theme=light] {{ color-scheme: light; }}\n"
    )


def _origin(view: View, contents: Contents, back: str) -> str:
    """Say what this was made from, whose the images are, and where to go on."""
    dataset, gallery = view.dataset, view.gallery
    of = {"title": say(dataset.title), "licence": say(dataset.licence)}
    if not dataset.shareable:
        shown = say("Fitted on {title}, of which no image is in this file: {licence}", **of)
    else:
        shown = say("Images of {title}: {licence}", **of)
        if gallery.stand_in:
            model = view.shown.title(gallery.stand_in)
            decoded = say("shown are stand-ins, decoded by {model} from its codes of them", model=model)
            shown = f"{shown}; {decoded}"
    app = "Latent-space explorer"
    if back.startswith(("http://", "https://")):
        link = escape(say("This view in the Latent-space explorer"))
        app = f'<a href="{escape(back)}" target="_blank" rel="noopener">{link}</a>'
    models = ", ".join(map(view.shown.title, contents.networks))
    return f"{app} · {escape(models)} · {escape(shown)}."


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
