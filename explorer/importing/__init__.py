"""Models that were made elsewhere: an ONNX file or a `torch.nn` module in, a bundle that every page opens out.

`reading` takes a file, within limits; `conversion` makes its operators (`operators`, `convolutions`, `formulas`) a
stack of our layers (`stack`), and `modules` a module; `parts` compares an encoder, a decoder or a classifier with what
it was made of; `assembly` makes the model, with its code and the range of its pixels; `saving` its bundle.
"""

from explorer.importing.assembly import Pixels
from explorer.importing.command import add_arguments, check_arguments
from explorer.importing.reading import ImportFault
from explorer.importing.saving import from_files, from_modules, keep, save

__all__ = [
    "ImportFault",
    "Pixels",
    "add_arguments",
    "check_arguments",
    "from_files",
    "from_modules",
    "keep",
    "save",
]
