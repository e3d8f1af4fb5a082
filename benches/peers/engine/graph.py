"""The shipped weights as an ONNX graph: batch norms folded, the stem's channels added up to one grey one, as the engine has it."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import load_file

EPSILON = 1e-5
# name, stride of the first convolution, whether there is a convolution beside
BLOCKS = [
    ("layer1.0", 1, False),
    ("layer1.1", 1, False),
    ("layer2.0", 2, True),
    ("layer2.1", 1, False),
    ("layer3.0", 2, True),
    ("layer3.1", 1, False),
    ("layer4.0", 2, True),
    ("layer4.1", 1, False),
]


class Graph:
    """Nodes and initial values, as they are added."""

    def __init__(self, weights):
        self.tensors = {name: value.astype(np.float32) for name, value in weights.items()}
        self.nodes, self.values = [], []

    def constant(self, name, value):
        self.values.append(numpy_helper.from_array(np.ascontiguousarray(value, dtype=np.float32), name))
        return name

    def node(self, kind, inputs, **attributes):
        output = f"{kind}{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    def conv(self, x, conv, norm, stride, grey=False):
        kernel = self.tensors[f"{conv}.weight"]
        if grey:
            kernel = kernel.sum(axis=1, keepdims=True)
        part = {p: self.tensors[f"{norm}.{p}"] for p in ("weight", "bias", "running_mean", "running_var")}
        scale = part["weight"] / np.sqrt(part["running_var"] + EPSILON)
        weight = self.constant(f"{conv}.weight", kernel * scale[:, None, None, None])
        bias = self.constant(f"{conv}.bias", part["bias"] - part["running_mean"] * scale)
        side = kernel.shape[-1]
        return self.node(
            "Conv", [x, weight, bias], kernel_shape=[side, side], strides=[stride] * 2, pads=[side // 2] * 4
        )


def export(weights, path):
    """Writes the graph `grey [images, 1, size, size]` → `logits [images, heads]`."""
    graph = Graph(load_file(weights))
    x = graph.node("Relu", [graph.conv("grey", "conv1", "bn1", 2, grey=True)])
    x = graph.node("MaxPool", [x], kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
    for name, stride, beside in BLOCKS:
        inner = graph.node("Relu", [graph.conv(x, f"{name}.conv1", f"{name}.bn1", stride)])
        inner = graph.conv(inner, f"{name}.conv2", f"{name}.bn2", 1)
        shortcut = graph.conv(x, f"{name}.downsample.0", f"{name}.downsample.1", stride) if beside else x
        x = graph.node("Relu", [graph.node("Add", [inner, shortcut])])
    pooled = graph.node("Flatten", [graph.node("GlobalAveragePool", [x])])
    last = [graph.constant(f"fc.{part}", graph.tensors[f"fc.{part}"]) for part in ("weight", "bias")]
    graph.nodes.append(helper.make_node("Gemm", [pooled, *last], ["logits"], transB=1))
    heads = len(graph.tensors["fc.bias"])
    described = helper.make_graph(
        graph.nodes,
        "resnet18",
        [helper.make_tensor_value_info("grey", TensorProto.FLOAT, ["images", 1, "height", "width"])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["images", heads])],
        graph.values,
    )
    model = helper.make_model(described, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, path)


def images(batch, size):
    """The grey squares that every row is given."""
    return np.random.default_rng(7).uniform(-2, 2.4, (batch, 1, size, size)).astype(np.float32)


def quantise(model, path, grey):
    """Static quantisation as ONNX Runtime advises it for x86: QDQ, bytes with a zero point for maps, signed ones for weights, a scale
    a channel; ranges from `grey`."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Images(CalibrationDataReader):
        def __init__(self):
            self.left = [{"grey": image[None]} for image in grey]

        def get_next(self):
            return self.left.pop() if self.left else None

    prepared = f"{path}.prepared"
    quant_pre_process(model, prepared, skip_symbolic_shape=True)
    quantize_static(
        prepared,
        path,
        Images(),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )
