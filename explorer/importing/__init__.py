"""Models that were made elsewhere: an ONNX file or a `torch.nn` module in, a bundle that every page opens out.

`reading` takes a file, within limits; `conversion` makes its operators (`operators`, `convolutions`, `formulas`) a
stack of our layers (`stack`), and `modules` a module; `parts` compares an encoder, a decoder or a classifier with what
it was made of; `assembly` makes the model, with its code and the range of its pixels; `saving` its bundle.
"""

from explorer.importing.assembly import Output, Pixels
from explorer.importing.reading import ImportFault
from explorer.importing.saving import check_name, from_files, from_modules, keep, save

__all__ = ["ImportFault", "Output", "Pixels", "check_name", "from_files", "from_modules", "keep", "save"]
