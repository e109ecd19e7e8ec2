"""Models that were made elsewhere: from PyTorch, in the form that Keras exports, and files that are refused."""

import io
import itertools
import json
import re
import shutil
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn as nn

import train
from explorer import graph, importing, layers, projection
from explorer.cards import model_card
from explorer.checkpoints import Bundle, BundleError, to_json
from explorer.datasets import DATASETS, ImageSet
from explorer.graph import Concat, Foreign, Permute, Scale, Sum
from explorer.importing import ImportFault, Pixels, assembly, from_files, from_modules, reading, saving
from explorer.layers import Unsupported
from explorer.ui import catalog
from explorer.ui.frame import PAGES
from tests.conftest import pca_for_tsne, pca_for_umap
from tests.test_app import open_page, words

onnx = pytest.importorskip("onnx")
helper, numpy_helper = onnx.helper, onnx.numpy_helper

SIDE = 12
SHAPE = (1, SIDE, SIDE)
CODE = 3


@pytest.fixture(autouse=True)
def few_inputs(monkeypatch):
    monkeypatch.setattr(saving, "N_IMAGES", 7)
    monkeypatch.setattr(assembly, "N_RANDOM", 5)


@pytest.fixture
def images():
    pixels = torch.randint(0, 256, (20, *SHAPE), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    return ImageSet(pixels, torch.arange(20) % 4, ("a", "b", "c", "d"))


# --- from PyTorch ---


class VAE(nn.Module):
    """Convolutions with batch norm, and the three outputs that tutorials return."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 6, 3, 2, 1, bias=False), nn.BatchNorm2d(6), nn.SiLU(), nn.Dropout(0.1),
            nn.Conv2d(6, 8, 3, 2, 1, groups=2), nn.GroupNorm(2, 8), nn.GELU(),
        )  # fmt: skip
        self.mean, self.log_var = nn.Linear(72, CODE), nn.Linear(72, CODE)

    def forward(self, x):
        h = self.body(x).view(x.size(0), -1)
        mean, log_var = self.mean(h), self.log_var(h)
        return mean, log_var, mean + torch.exp(0.5 * log_var) * torch.randn_like(mean)


class Upsampler(nn.Module):
    """Upsampling and residual blocks, one of them with a projection, and a join."""

    def __init__(self):
        super().__init__()
        self.start, self.up = nn.Linear(CODE, 72), nn.Upsample(scale_factor=2)
        self.one, self.norm = nn.Conv2d(8, 8, 3, padding=1), nn.InstanceNorm2d(8, affine=True)
        self.two, self.project = nn.Conv2d(8, 4, 3, padding=2, dilation=2), nn.Conv2d(8, 4, 1)
        self.smooth = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False)
        self.last = nn.Conv2d(8, 1, 3, padding=1)

    def forward(self, z):
        h = torch.relu(self.start(z)).reshape(-1, 8, 3, 3)
        h = self.up(h)
        h = torch.relu(h + self.norm(self.one(h)))
        h = nn.functional.elu(self.two(h) + self.project(h))
        h = torch.cat([h, nn.functional.avg_pool2d(self.up(h), 2)], 1)
        return torch.sigmoid(self.last(self.smooth(h)))


def dense(*widths, last=None):
    layers = [layer for a, b in itertools.pairwise(widths) for layer in (nn.Linear(a, b), nn.LeakyReLU(0.1))]
    return [*layers[:-1], *([last] if last else [])]


def torch_models():
    torch.manual_seed(0)
    n = SIDE * SIDE
    plain = nn.Sequential(nn.Flatten(), *dense(n, 20, CODE)), nn.Sequential(*dense(CODE, 20, n, last=nn.Sigmoid()))
    upward = nn.Sequential(
        nn.Linear(CODE, 72), nn.Unflatten(1, (8, 3, 3)), nn.ConvTranspose2d(8, 4, 3, 2, 1, 1, bias=False),
        nn.BatchNorm2d(4), nn.Softplus(), nn.ConvTranspose2d(4, 1, 4, 2, 1), nn.Tanh(),
    )  # fmt: skip
    down = nn.Sequential(nn.Conv2d(1, 4, 3, 2, 1), nn.Tanh(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(36, CODE))
    for module in [*plain, VAE(), upward, down, Upsampler()]:
        for norm in (m for m in module.modules() if isinstance(m, nn.BatchNorm2d)):
            norm.running_mean.normal_(), norm.running_var.uniform_(0.5, 2)
    return {"dense": plain, "conv vae": (VAE(), upward), "upsampling": (down, Upsampler())}


def exported(module, example, opset=17, **more):
    content = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        axes = {"dynamic_axes": {"x": {0: "batch"}}} if more.pop("dynamic", True) else {}
        torch.onnx.export(
            module.eval(), (example,), content, dynamo=False, opset_version=opset, input_names=["x"], **axes, **more
        )
    return content.getvalue()


def kept(tmp_path, encoder, decoder):
    files = {}
    for part, content in (("encoder", encoder), ("decoder", decoder)):
        files[part] = tmp_path / f"{part}.onnx"
        files[part].write_bytes(content)
    return files


@pytest.fixture(params=["dense", "conv vae", "upsampling"])
def torch_pair(request):
    return torch_models()[request.param]


@pytest.mark.parametrize(("opset", "dynamic"), [(13, False), (17, True)])
def test_what_torch_exports_is_read(torch_pair, opset, dynamic, images, tmp_path):
    encoder, decoder = torch_pair
    more = {"opset": opset, "dynamic": dynamic}
    contents = [exported(p, x, **more) for p, x in ((encoder, torch.rand(2, *SHAPE)), (decoder, torch.rand(2, CODE)))]
    found = from_files(kept(tmp_path, *contents), images)
    assert found.source["uncovered"] == ""
    assert layers.pack("theirs", found.model.networks())  # so that it runs in a browser
    assert found.source["difference"] < 1e-5
    x = images.images[:4] / 255
    code, variational = encoder.eval()(x), isinstance(encoder, VAE)
    posterior = found.model.encode(x)
    assert found.model.config.variational == variational
    torch.testing.assert_close(posterior.mu, code[0] if variational else code, rtol=1e-4, atol=1e-5)
    if variational:
        torch.testing.assert_close(posterior.log_var, code[1], rtol=1e-4, atol=1e-5)
    pixels = decoder.eval()(posterior.mu).view(-1, *SHAPE)
    pixels = pixels.clamp(0, 1) if found.source["output"] == "pixels" else pixels
    if found.source["output"] != "logits" or isinstance(decoder[-1] if variational is None else decoder, Upsampler):
        torch.testing.assert_close(found.model.decode(posterior.mu), pixels, rtol=1e-4, atol=1e-5)


def test_modules_are_taken_as_they_are_where_they_are_plain_stacks_of_our_layers(torch_pair, images, monkeypatch):
    plain = all(isinstance(part, nn.Sequential) for part in torch_pair)
    if plain:
        monkeypatch.setitem(sys.modules, "onnx", None)
    found = from_modules(torch_pair, images)
    assert found.source["difference"] < 1e-5
    assert all(part.training for part in torch_pair)  # the caller's own are as they were
    x = images.images[:4] / 255
    expected = torch_pair[0].eval()(x)
    expected = expected[0] if isinstance(expected, tuple) else expected
    torch.testing.assert_close(found.model.encode(x).mu, expected, rtol=1e-4, atol=1e-5)


# --- as Keras exports: channels last, transposes around every convolution, weights as (in, out) ---


class Net:
    """A graph that is written an operator at a time; weights are drawn by a seed."""

    def __init__(self, shape, opset=17, seed=0):
        self.shape, self.opset, self.nodes, self.weights = shape, opset, [], []
        self.numbers = np.random.default_rng(seed)

    def constant(self, value, dtype=np.float32):
        self.weights.append(numpy_helper.from_array(np.asarray(value, dtype), f"w{len(self.weights)}"))
        return self.weights[-1].name

    def drawn(self, *shape):
        return self.constant(self.numbers.normal(0, 0.4, shape))

    def __call__(self, op, *inputs, n_out=1, **attributes):
        names = [f"{op.lower()}-{len(self.nodes)}-{i}" for i in range(n_out)]
        self.nodes.append(helper.make_node(op, inputs, names, name=f"{op.lower()} {len(self.nodes)}", **attributes))
        return names[0] if n_out == 1 else names

    def ints(self, op, x, *lists, names=("axes",), **attributes):
        """Write whole numbers as attributes in opsets where they are such, else as inputs."""
        since = {"Squeeze": 13, "Unsqueeze": 13, "Split": 13, "Slice": 10, "Pad": 11, "ReduceMean": 18}[op]
        if self.opset < since:
            return self(op, x, **dict(zip(names, lists, strict=True)), **attributes)
        return self(op, x, *(self.constant(values, np.int64) for values in lists), **attributes)

    def dense(self, x, n_in, n_out):
        return self("Add", self("MatMul", x, self.drawn(n_in, n_out)), self.drawn(n_out))

    def conv(self, x, weight, op="Conv", **attributes):
        x = self("Transpose", x, perm=[0, 3, 1, 2])
        return self("Transpose", self(op, x, weight, **attributes), perm=[0, 2, 3, 1])

    def reshape(self, x, *shape):
        return self("Reshape", x, self.constant(shape, np.int64))

    def proto(self, *outputs, batch="batch"):
        tensor = onnx.TensorProto.FLOAT
        end = [helper.make_tensor_value_info(name, tensor, None) for name in outputs]
        begin = [helper.make_tensor_value_info("x", tensor, [batch, *self.shape])]
        body = helper.make_graph(self.nodes, "net", begin, end, self.weights)
        proto = helper.make_model(body, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=8)
        return onnx.shape_inference.infer_shapes(proto)

    def bytes(self, *outputs, **more):
        return self.proto(*outputs, **more).SerializeToString()


def keras_dense():
    n = SIDE * SIDE
    net, back = Net((SIDE, SIDE, 1)), Net((CODE,), seed=1)
    code = net.dense(net("Relu", net.dense(net.reshape("x", -1, n), n, 20)), 20, CODE)
    image = back("Sigmoid", back.dense(back("Elu", back.dense("x", CODE, 20), alpha=1.0), 20, n))
    return net.bytes(code), back.bytes(back.reshape(image, -1, SIDE, SIDE, 1))


def keras_conv_vae():
    net, back = Net((SIDE, SIDE, 1)), Net((CODE,), seed=1)
    h = net.conv("x", net.drawn(6, 1, 3, 3), strides=[2, 2], auto_pad="SAME_UPPER")
    h = net("Add", net("Mul", h, net.drawn(6)), net.drawn(6))  # batch norm in channels-last order
    h = net("LeakyRelu", h, alpha=0.3)
    h = net.conv(h, net.drawn(8, 6, 3, 3), strides=[2, 2], pads=[0, 0, 1, 1])
    h = net.reshape(net("Relu", h), -1, 72)
    mean, log_var = net.dense(h, 72, CODE), net.dense(h, 72, CODE)
    noise = net("Mul", net("Exp", net("Mul", log_var, net.constant(0.5))), net("RandomNormalLike", mean))
    h = back.reshape(back("Relu", back.dense("x", CODE, 72)), -1, 3, 3, 8)
    h = back.conv(h, back.drawn(8, 4, 3, 3), "ConvTranspose", strides=[2, 2], auto_pad="SAME_UPPER")
    h = back("Relu", back("Add", h, back.drawn(4)))
    h = back.conv(h, back.drawn(4, 1, 3, 3), "ConvTranspose", strides=[2, 2], output_shape=[SIDE, SIDE])
    return net.bytes(mean, log_var, net("Add", mean, noise)), back.bytes(back("Sigmoid", h))


def keras_upsampling():
    net, back = Net((SIDE, SIDE, 1)), Net((CODE,), seed=1)
    h = net("Relu", net.conv("x", net.drawn(4, 1, 3, 3), pads=[1, 1, 1, 1]))
    h = net("Add", h, net("Relu", net.conv(h, net.drawn(4, 4, 3, 3), pads=[1, 1, 1, 1])))
    h = net("Transpose", h, perm=[0, 3, 1, 2])
    h = net("Transpose", net("AveragePool", h, kernel_shape=[2, 2], strides=[2, 2]), perm=[0, 2, 3, 1])
    h = net("ReduceMean", net("Mul", h, net("Sigmoid", h)), axes=[1, 2], keepdims=0)
    code = net.dense(h, 4, CODE)
    h = back.reshape(back.dense("x", CODE, 72), -1, 3, 3, 8)
    for channels in (8, 4):
        h = back("Transpose", h, perm=[0, 3, 1, 2])
        h = back("Resize", h, "", back.constant([1, 1, 2, 2]), mode="nearest", nearest_mode="round_prefer_ceil",
                 coordinate_transformation_mode="half_pixel")  # fmt: skip
        h = back("Transpose", h, perm=[0, 2, 3, 1])
        h = back("Tanh", back.conv(h, back.drawn(4, channels, 3, 3), auto_pad="SAME_UPPER"))
    normed = back("LayerNormalization", h, back.drawn(4), back.drawn(4), axis=-1)
    return net.bytes(code), back.bytes(back("Sigmoid", back.dense(normed, 4, 1)))


KERAS = {"dense": keras_dense, "conv vae": keras_conv_vae, "upsampling": keras_upsampling}


@pytest.mark.parametrize("name", KERAS)
def test_what_keras_exports_is_read(name, images, tmp_path):
    found = from_files(kept(tmp_path, *KERAS[name]()), images)
    assert (found.source["uncovered"], found.source["output"]) == ("", "logits")
    assert layers.pack("theirs", found.model.networks())
    assert found.source["difference"] < 1e-5
    assert found.model.config.variational == (name == "conv vae")
    kinds = [type(layer) for part in (found.model.encoder, found.model.decoder) for layer in part]
    assert kinds.count(Permute) <= 3  # of a dozen, those before and after rows of numbers stay, and one around a norm


def steps(opset):
    """Write operators whose arguments moved from attributes to inputs, from opset to opset."""
    net = Net((1, SIDE, SIDE), opset)
    h = net.ints("Pad", "x", [0, 0, 1, 1, 0, 0, 1, 1], names=("pads",), mode="constant")
    h = net("Conv", h, net.drawn(4, 1, 3, 3), kernel_shape=[3, 3])
    stats = [net.constant(abs(net.numbers.normal(1, 0.2, 4))) for _ in range(4)]
    h = net("Relu", net("BatchNormalization", h, *stats))
    h = net.ints("Slice", h, [0, 1], [SIDE, SIDE - 1], [2, 3], names=("starts", "ends", "axes"))
    h = net.ints("ReduceMean", h, [2, 3], keepdims=0)
    h = net.ints("Squeeze", net.ints("Unsqueeze", h, [2]), [2])
    shape = net("Concat", net.ints("Unsqueeze", net("Gather", net("Shape", h), net.constant(0, np.int64)), [0]),
                net.constant([-1], np.int64), axis=0)  # fmt: skip
    h = net.dense(net("Dropout", net("Reshape", h, shape)), 4, 2 * CODE)
    halves = {"split": [CODE, CODE]} if opset < 13 else {}
    more = [net.constant([CODE, CODE], np.int64)] if opset >= 13 else []
    mean, log_var = net("Split", h, *more, n_out=2, axis=1, **halves)
    return net.proto(mean, log_var)


@pytest.mark.parametrize("opset", reading.OPSETS)
def test_every_opset_is_read(opset, images, tmp_path):
    proto = steps(opset)
    found = from_files(kept(tmp_path, proto.SerializeToString(), keras_dense()[1]), images)
    assert found.source["uncovered"] == ""
    assert found.model.config.variational
    assert isinstance(found.model.encoder[-1], nn.Linear)  # what was split goes on as one


@pytest.mark.parametrize(
    ("stride", "dilation", "groups", "auto", "pads", "extra"),
    [
        (1, 1, 1, "NOTSET", [2, 0, 1, 1], [0, 0]), (2, 2, 2, "NOTSET", [0, 1, 2, 2], [1, 0]),
        (2, 1, 4, "SAME_LOWER", [0, 0, 0, 0], [0, 0]), (2, 1, 1, "SAME_UPPER", [0, 0, 0, 0], [0, 0]),
        (3, 2, 1, "NOTSET", [1, 0, 3, 2], [2, 1]), (2, 1, 2, "VALID", [0, 0, 0, 0], [0, 0]),
    ],
)  # fmt: skip
@pytest.mark.parametrize("op", ["Conv", "ConvTranspose"])
def test_every_way_of_moving_a_window_is_that_of_onnx(op, stride, dilation, groups, auto, pads, extra):
    net = Net((4, 7, 6))
    extra = {"output_padding": extra} if op == "ConvTranspose" else {}
    padding = {"pads": pads} if auto == "NOTSET" else {"auto_pad": auto}
    weight = net.drawn(4, 4 // groups, 3, 2)
    y = net(op, "x", weight, net.drawn(4), strides=[stride] * 2, dilations=[dilation] * 2, group=groups,
            kernel_shape=[3, 2], **padding, **extra)  # fmt: skip
    piece = importing.parts.of_graph(reading.parse(net.bytes(y), "net"), lambda shape: importing.stack.Value((4, 7, 6)))
    assert piece.difference(torch.randn(3, 4, 7, 6)) < 1e-5
    assert not piece.uncovered


@pytest.mark.parametrize("way", ["layer", "instance", "gelu", "tanh", "silu"])
def test_a_layer_that_an_exporter_wrote_as_a_formula_is_recognised(way):
    net, one = Net((4, 5, 5), opset=13), np.float32
    if way in ("layer", "instance"):
        axes = [1, 2, 3] if way == "layer" else [2, 3]
        centred = net("Sub", "x", net("ReduceMean", "x", axes=axes))
        variance = net("ReduceMean", net("Mul", centred, centred), axes=axes)
        root = net("Sqrt", net("Add", variance, net.constant(1e-3)))
        y, kind = net("Div", centred, root), nn.LayerNorm if way == "layer" else nn.InstanceNorm2d
    elif way == "silu":
        y, kind = net("Mul", net("Sigmoid", "x"), "x"), nn.SiLU
    else:
        if way == "gelu":
            inner = net("Erf", net("Div", "x", net.constant(2**0.5, one)))
        else:
            cube = net("Mul", net.constant(0.044715), net("Mul", net("Mul", "x", "x"), "x"))
            inner = net("Tanh", net("Mul", net("Add", "x", cube), net.constant((2 / np.pi) ** 0.5)))
        y, kind = net("Mul", net("Mul", "x", net.constant(0.5)), net("Add", inner, net.constant(1.0))), nn.GELU
    piece = importing.parts.of_graph(reading.parse(net.bytes(y), "net"), lambda s: importing.stack.Value((4, 5, 5)))
    [value] = piece.values.values()
    assert [type(layer) for layer in value.stack()] == [kind]
    assert piece.difference(torch.randn(3, 4, 5, 5)) < 1e-5


# --- what is refused ---


def refused(tmp_path, images, encoder=None, decoder=None, **more):
    usual = keras_dense()
    with pytest.raises(ImportFault) as fault:
        from_files(kept(tmp_path, encoder or usual[0], decoder or usual[1]), images, **more)
    return str(fault.value)


def test_a_truncated_file_is_refused(images, tmp_path):
    whole = keras_dense()[0]
    for n in (0, 10, len(whole) // 2, len(whole) - 3):
        assert "encoder.onnx is truncated" in refused(tmp_path, images, whole[:n] or b"\0")


def outside(location, **more):
    proto = onnx.load_from_string(keras_dense()[0])
    tensor = proto.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = tensor.EXTERNAL
    for key, value in ({"location": location} | more).items():
        tensor.external_data.add(key=key, value=str(value))
    return proto.SerializeToString()


@pytest.mark.parametrize("where", ["../secret.bin", "/etc/passwd", "link.bin", "missing.bin"])
def test_weights_outside_the_folder_of_the_file_are_refused(where, images, tmp_path):
    folder = tmp_path / "here"
    folder.mkdir()
    (tmp_path / "secret.bin").write_bytes(bytes(100))
    (folder / "link.bin").symlink_to(tmp_path / "secret.bin")
    reason = "not beside it" if where == "missing.bin" else "outside its folder: refused"
    assert reason in refused(folder, images, outside(where))


def test_weights_in_a_file_beside_it_are_read_and_a_short_one_is_refused(images, tmp_path):
    proto = onnx.load_from_string(keras_dense()[0])
    content = proto.graph.initializer[1].raw_data
    proto.graph.initializer[1].ClearField("raw_data")
    proto.graph.initializer[1].data_location = onnx.TensorProto.EXTERNAL
    proto.graph.initializer[1].external_data.add(key="location", value="weights.bin")
    proto.graph.initializer[1].external_data.add(key="length", value=str(len(content)))
    (tmp_path / "weights.bin").write_bytes(content)
    files = kept(tmp_path, proto.SerializeToString(), keras_dense()[1])
    assert from_files(files, images).source["difference"] < 1e-5
    (tmp_path / "weights.bin").write_bytes(content[:-4])
    with pytest.raises(ImportFault, match="truncated or too large"):
        from_files(files, images)


def huge():
    net = Net((SIDE, SIDE, 1))
    proto = onnx.load_from_string(net.bytes(net("Relu", "x")))
    proto.graph.initializer.append(onnx.TensorProto(dims=[2**20, 2**20], data_type=1, name="w"))
    return proto.SerializeToString()


def enormous():
    net = Net((SIDE, SIDE, 1))
    h = net.conv("x", net.drawn(1, 1, 2, 2), "ConvTranspose", strides=[40_000, 40_000])
    return net.bytes(net.reshape(net("ReduceMean", h, axes=[1, 2], keepdims=0), -1, 1))


def without_input():
    net = Net((SIDE, SIDE, 1))
    net("Relu", "x")
    return net.bytes(net("Identity", net.drawn(1, 3)))


def with_two_inputs():
    proto = onnx.load_from_string(keras_dense()[0])
    proto.graph.input.append(helper.make_tensor_value_info("label", onnx.TensorProto.FLOAT, [None, 10]))
    return proto.SerializeToString()


def only_a_sample():
    net = Net((SIDE, SIDE, 1))
    h = net.dense(net.reshape("x", -1, SIDE * SIDE), SIDE * SIDE, CODE)
    return net.bytes(net("Add", h, net("RandomNormalLike", h)))


def of_opset(n):
    proto = onnx.load_from_string(keras_dense()[0])
    proto.opset_import[0].version = n
    return proto.SerializeToString()


@pytest.mark.parametrize(
    ("encoder", "reason"),
    [
        (huge, "more than"), (enormous, "it would compute"), (without_input, "does not depend on its input"),
        (with_two_inputs, "has the inputs x, label"), (only_a_sample, "nothing but samples"),
        (lambda: of_opset(8), "opset 8; 9 to 23"), (lambda: of_opset(99), "opset 99"),
        (lambda: keras_dense()[1], "takes images of the shape 3, and the data set's have 1 × 12 × 12"),
    ],
)  # fmt: skip
def test_what_cannot_be_an_encoder_is_refused_with_the_reason(encoder, reason, images, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    shown = refused(tmp_path, images, encoder())
    assert reason in shown
    assert "encoder.onnx" in shown


def test_an_encoder_and_a_decoder_that_do_not_fit_are_refused_with_their_sizes(images, tmp_path):
    net = Net((CODE + 2,))
    other = net.bytes(net.reshape(net.dense("x", CODE + 2, SIDE * SIDE), -1, 1, SIDE, SIDE))
    assert "of 3 numbers, and the decoder takes 5" in refused(tmp_path, images, decoder=other)
    net = Net((CODE,))
    assert "gives add-1-0 of 50 numbers, and images of the data set have 144" in refused(
        tmp_path, images, decoder=net.bytes(net.dense("x", CODE, 50))
    )
    with pytest.raises(ImportFault, match="do not fit together: the decoder does not take codes of"):
        from_modules((nn.Sequential(nn.Flatten(), nn.Linear(144, 3)), nn.Sequential(nn.Linear(7, 144))), images)


def test_images_of_another_shape_are_refused(images, tmp_path):
    net = Net((1, 28, 28))
    encoder = net.bytes(net.dense(net.reshape("x", -1, 784), 784, CODE))
    assert "takes images of the shape 1 × 28 × 28, and the data set's have 1 × 12 × 12" in refused(
        tmp_path, images, encoder
    )


def test_without_the_package_onnx_it_is_said_what_to_install(images, tmp_path, monkeypatch):
    monkeypatch.setattr(onnx, "__version__", "1.22.9")
    assert "of version 1.23 or newer: pip install -U onnx (1.22.9 is installed)" in refused(tmp_path, images)
    monkeypatch.setitem(sys.modules, "onnx", None)
    assert "pip install -U onnx" in refused(tmp_path, images)


# --- pixels ---


def test_range_and_normalisation_are_given_once_and_kept(images):
    torch.manual_seed(0)
    coder = nn.Sequential(nn.Flatten(), nn.Linear(144, CODE))
    decoder = nn.Sequential(nn.Linear(CODE, 144), nn.Tanh(), nn.Unflatten(1, SHAPE))
    pixels = Pixels(-1.0, 1.0, (0.2,), (0.5,), "scaled")
    model = from_modules((coder, decoder), images, pixels).model
    x = images.images[:5] / 255
    code = coder((x * 2 - 1 - 0.2) / 0.5)
    torch.testing.assert_close(model.encode(x).mu, code)
    torch.testing.assert_close(model.decode(code), ((decoder(code) * 0.5 + 0.2 + 1) / 2).clamp(0, 1))


@pytest.mark.parametrize(
    ("last", "pixels", "kind"),
    [(nn.Sigmoid(), Pixels(), "logits"), (None, Pixels(), "pixels"), (nn.Tanh(), Pixels(-1.0, 1.0), "scaled")],
)
def test_what_a_decoder_makes_is_told_apart_by_looking(last, pixels, kind, images):
    x = (images.images.float() / 255).flatten(1)
    wanted = {"logits": torch.logit(x, eps=1e-3), "pixels": x, "scaled": torch.atanh((2 * x - 1).clamp(-0.99, 0.99))}
    coder = nn.Sequential(nn.Flatten(), nn.Linear(144, 20, bias=False))
    nn.init.orthogonal_(coder[1].weight)
    z = coder(x if kind != "scaled" else 2 * x - 1).detach()
    decoder = nn.Linear(20, 144, bias=False)
    decoder.weight.data = torch.linalg.lstsq(z, wanted[kind]).solution.T
    found = from_modules((coder, nn.Sequential(decoder, *([last] if last else []))), images, pixels)
    assert found.source["output"] == kind
    assert (found.model(images.images / 255) - images.images / 255).abs().mean() < 0.05


@pytest.mark.parametrize("values", [{"low": 1.0}, {"std": (0.0,)}, {"mean": (float("nan"),)}])
def test_a_range_that_there_cannot_be_is_refused(values):
    with pytest.raises(ImportFault, match="two different numbers"):
        Pixels(**values)


# --- classifiers ---


@pytest.mark.parametrize("last", ["Softmax", "LogSoftmax", "formula", None])
def test_logits_and_probabilities_are_told_apart(last, images, tmp_path):
    net = Net((SIDE, SIDE, 1), opset=13)
    h = net("Relu", net.dense(net.reshape("x", -1, 144), 144, 6))
    y = net.dense(h, 6, 4)
    if last == "formula":
        pytest.importorskip("onnxruntime")
        powers = net("Exp", y)
        y = net("Div", powers, net("ReduceSum", powers, net.constant([1], np.int64), keepdims=1))
    elif last:
        y = net(last, y, axis=-1)
    path = tmp_path / "net.onnx"
    path.write_bytes(net.bytes(y))
    found = from_files({"classifier": path}, images)
    assert found.source["output"] == ("logits" if last in (None,) else "probabilities")
    reference = onnx.reference.ReferenceEvaluator(onnx.load(path))
    x = images.images[:5] / 255
    expected = torch.from_numpy(reference.run(None, {"x": x.permute(0, 2, 3, 1).numpy()})[0])
    logits = found.model(x)
    expected = {"LogSoftmax": expected, None: expected.log_softmax(1)}.get(last, expected.clamp(min=1e-9).log())
    torch.testing.assert_close(logits.log_softmax(1), expected, rtol=1e-4, atol=1e-4)
    assert found.model.embed(x).shape == (5, 4 if last == "formula" else 6)


# --- the whole way ---


def digit_files(folder):
    """Write the files of a model of digits of 28 × 28 pixels whose decoder has an operator that is not covered."""
    folder.mkdir(parents=True, exist_ok=True)
    net, back, judge = Net((28, 28, 1)), Net((2,), seed=1), Net((784,), seed=2)
    h = net.conv("x", net.drawn(2, 1, 5, 5), strides=[4, 4], auto_pad="SAME_UPPER")
    h = net.reshape(net("Relu", h), -1, 98)
    covered = Net((2,), seed=3)
    files = {
        "encoder": net.bytes(net.dense(h, 98, 2), net.dense(h, 98, 2)),
        "decoder": covered.bytes(covered.reshape(covered("Sigmoid", covered.dense("x", 2, 784)), -1, 28, 28, 1)),
        "uncovered": back.bytes(back.reshape(back("HardSigmoid", back.dense("x", 2, 784)), -1, 28, 28, 1)),
        "classifier": judge.bytes(judge("Softmax", judge.dense(judge("Relu", judge.dense("x", 784, 8)), 8, 10))),
    }
    for name, content in files.items():
        (folder / f"{name}.onnx").write_bytes(content)
    return folder


def run(root, *arguments, dataset="digits"):
    usual = ["--dataset", dataset, "--device", "cpu", "--threads", "1", "--checkpoints", str(root)]
    return train.main([*map(str, arguments), *usual])


@pytest.fixture(scope="module")
def imported(build_once):
    """A folder of models that were all made elsewhere: a plane, one that needs onnxruntime, and a classifier."""
    pytest.importorskip("onnxruntime")

    def build(root):
        files = digit_files(root / "digits" / ".files")
        pair = ("--encoder", files / "encoder.onnx", "--decoder", files / "decoder.onnx")
        assert run(root, "--import", "theirs", *pair) == 0
        assert run(root, "--import", "odd", *pair[:2], "--decoder", files / "uncovered.onnx") == 0
        assert run(root, "--import", "judge", "--classifier", files / "classifier.onnx") == 0

    return build_once("imported", build)


@pytest.fixture
def own(imported, tmp_path, monkeypatch):
    root = tmp_path / "checkpoints"
    shutil.copytree(imported, root)
    monkeypatch.setenv("EXPLORER_CHECKPOINTS", str(root))
    return root


def test_a_bundle_says_where_it_comes_from_and_how_to_make_it_anew(own):
    bundle = Bundle("digits", "theirs", own)
    config = bundle.config()
    assert config["recipe"] is None
    assert set(config["imported"]["files"]) == {"encoder", "decoder"}
    assert len(config["imported"]["files"]["encoder"]["sha256"]) == 64
    assert 0 <= config["imported"]["difference"] < 1e-5
    assert bundle.command() == (
        "python train.py --dataset digits --import theirs --encoder encoder.onnx --decoder decoder.onnx"
    )
    assert bundle.command("metrics") == "python train.py --dataset digits --import theirs --only metrics"
    card = model_card(bundle)
    assert (card.is_native, card.imported, card.title) == (True, True, "theirs")
    assert not any(bundle.history().values())


def test_later_stages_are_run_anew_without_the_files(own):
    bundle = Bundle("digits", "judge", own)
    before = bundle.metrics()
    (bundle.folder / "metrics.json").unlink()
    assert run(own, "--import", "judge", "--only", "metrics") == 0
    assert bundle.metrics() == before


def test_a_bundle_is_read_without_onnx_and_one_that_needs_onnxruntime_says_so(own, monkeypatch):
    for package in ("onnx", "onnxruntime"):
        monkeypatch.setitem(sys.modules, package, None)
    x = torch.rand(3, 1, 28, 28)
    assert Bundle("digits", "theirs", own).load()(x).shape == x.shape
    assert Bundle("digits", "judge", own).load()(x).shape == (3, 10)
    with pytest.raises(graph.NotInstalled, match="pip install onnxruntime"):
        Bundle("digits", "odd", own).load()(x)
    app = open_page("reconstruct", dataset="digits")
    assert not app.exception
    assert "pip install onnxruntime" in words(app)


@pytest.mark.parametrize("key", PAGES)
def test_every_page_that_applies_opens_on_imported_models(own, key):
    app = open_page(key, dataset="digits", model="odd")  # the one that does not run in a browser
    assert [e.value for e in (*app.exception, *app.error)] == []
    shown = words(app)
    if key == "training":
        assert "fitted elsewhere and imported" in shown
    if PAGES[key].fits(catalog.collection(own, "digits")):
        assert "This needs" not in shown


def test_what_does_not_run_in_the_browser_is_decoded_on_the_server(own):
    model = Bundle("digits", "odd", own).load()
    assert any(isinstance(layer, Foreign) for layer in model.decoder)
    with pytest.raises(Unsupported, match="onnxruntime computes it"):
        layers.pack("odd", model.networks())
    app = open_page("latent_plane", dataset="digits", model="odd")
    assert "decoded on the server" in words(app)
    assert not app.exception


def change(root, name, edit):
    path = root / "digits" / name / "config.json"
    values = json.loads(path.read_text(encoding="utf-8"))
    edit(values["architecture"])
    path.write_bytes(to_json(values))


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (lambda a: a["encoder"].append({"layer": "system"}), "none of ours"),
        (lambda a: a["encoder"].append({"layer": ["ReLU"]}), "none of ours"),
        (lambda a: a["encoder"].append({"layer": "ReLU", "inplace": True}), "is made of nothing, not inplace"),
        (lambda a: a["encoder"].append(7), "none of ours"),
        (lambda a: a.update(encoder="ReLU"), "no list of layers"),
        (lambda a: a["encoder"].pop(), "it is|its layers make"),
        (lambda a: a["decoder"].insert(0, {"layer": "Sum", "branches": 3}), "no list of branches"),
        (lambda a: a["decoder"].insert(0, {"layer": "Permute", "order": [9]}), "do not fit together"),
        (lambda a: a["decoder"].extend([{"layer": "ReLU"}] * 3000), "3,0.. layers"),
        (lambda a: a["decoder"].insert(-1, nested(40)), "deep in one another"),
        (lambda a: a.update(code=10**9), "are to make"),
        (lambda a: a["encoder"].insert(0, upsampling(60_000)), "it would compute"),
        (lambda a: a["encoder"].insert(0, {"layer": "Scale", "channels": 10**13}), "out of all bounds"),
        (lambda a: a.update(likelihood="certain"), "likelihood 'certain'"),
    ],
)
def test_a_hostile_description_of_layers_is_refused_with_the_reason(own, edit, reason):
    change(own, "theirs", edit)
    with pytest.raises(BundleError, match=reason) as refusal:
        Bundle("digits", "theirs", own).load()
    assert "--import theirs" in str(refusal.value)


def nested(depth):
    layer = {"layer": "ReLU"}
    for _ in range(depth):
        layer = {"layer": "Residual", "body": [layer]}
    return layer


def upsampling(side):
    return {"layer": "Upsample", "size": [side, side], "scale_factor": None, "mode": "nearest", "align_corners": None}


def test_a_model_that_is_fitted_here_is_not_overwritten(own, digits_root, capsys):
    files = digit_files(own / "files")
    shutil.copytree(digits_root / "digits" / "fc-ae", own / "digits" / "mine")
    pair = ("--encoder", files / "encoder.onnx", "--decoder", files / "decoder.onnx")
    assert run(own, "--import", "mine", *pair) == 1
    assert "choose another name" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--import", "x"], "needs --encoder FILE and --decoder FILE, or --classifier FILE"),
        (["--import", "x", "--encoder", "a", "--classifier", "b"], "needs --encoder"),
        (["--import", "Not a slug", "--classifier", "b"], "small letters, digits and hyphens"),
        (["--import", "fc-ae", "--classifier", "b"], "one of the roster's"),
        (["--classifier", "b"], "goes with --import NAME"),
        (["fc-ae", "--import", "x", "--classifier", "b"], "without MODEL"),
        (["--import", "x", "--classifier", "b", "--range", "1", "1"], "two different numbers"),
    ],
)
def test_a_wrong_command_is_said_before_anything_is_read(arguments, reason, tmp_path, capsys):
    with pytest.raises(SystemExit) as end:
        run(tmp_path, *arguments)
    assert end.value.code == 2
    assert reason in capsys.readouterr().err


def test_a_file_that_cannot_be_used_leaves_nothing_behind(tmp_path, capsys):
    path = tmp_path / "net.onnx"
    path.write_bytes(b"no such thing")
    assert run(tmp_path / "root", "--import", "x", "--classifier", path) == 1
    assert "net.onnx is truncated, or no ONNX file" in capsys.readouterr().err
    assert not (tmp_path / "root" / "digits" / "x").exists()


def test_an_operator_that_is_not_covered_is_named_with_its_node(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    files = digit_files(tmp_path / "files")
    pair = ("--encoder", files / "encoder.onnx", "--decoder", files / "uncovered.onnx")
    assert run(tmp_path / "root", "--import", "x", *pair) == 1
    said = capsys.readouterr().err
    assert "uncovered.onnx has an operator that is not covered (operator HardSigmoid, node 'hardsigmoid 2'" in said
    assert "pip install onnxruntime" in said


def test_the_example_of_the_readme_saves_a_model(checkpoints_root, monkeypatch):
    monkeypatch.setattr(projection, "umap", pca_for_umap)
    monkeypatch.setattr(projection, "tsne", pca_for_tsne)
    readme = (Path(train.__file__).parent / "README.md").read_text(encoding="utf-8")
    [example] = re.findall(r"```python\n(import explorer\n.*?)```", readme, re.DOTALL)
    torch.manual_seed(0)
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(784, 4))
    decoder = nn.Sequential(nn.Linear(4, 784), nn.Sigmoid(), nn.Unflatten(1, (1, 28, 28)))
    exec(example.replace("fashion-mnist", "digits"), {"encoder": encoder, "decoder": decoder})
    bundle = Bundle("digits", "my-ae", checkpoints_root)
    assert bundle.is_measured() and bundle.is_projected()
    x = DATASETS["digits"].load("test").images[:3] / 255
    torch.testing.assert_close(bundle.load()(x), decoder(encoder(x)))
    assert bundle.command() == 'explorer.save(model, "my-ae", "digits") in Python'


def test_layers_and_branches_come_back_from_their_description():
    stack = nn.Sequential(
        Scale(torch.ones(1), torch.zeros(1)), nn.Conv2d(1, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4),
        Sum([nn.Sequential(), nn.Sequential(nn.Conv2d(4, 4, 1), nn.ELU())]), Concat([nn.Sequential(), nn.Sequential()]),
        Permute((1, 2, 0)), nn.Flatten(), nn.Linear(8 * 36, 2),
    ).eval()  # fmt: skip
    again = graph.build(json.loads(to_json({"stack": graph.describe(stack)}))["stack"]).eval()
    again.load_state_dict(stack.state_dict())
    x = torch.rand(2, 1, 6, 6)
    torch.testing.assert_close(again(x), stack(x))
