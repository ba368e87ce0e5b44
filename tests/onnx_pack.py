"""An insightface pack whose answers are known: a red cell of 32 px is a face, its mean colour who it is.

The detector has det_10g's interface (nine outputs, strides 8, 16, 32, two anchors per cell), the recogniser
w600k_r50's, so that insightface's own routing, decoding and suppression run.
"""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

CELL = 32
LANDMARKS = np.array([(0.3, 0.4), (0.7, 0.4), (0.5, 0.6), (0.35, 0.8), (0.65, 0.8)], dtype=np.float32)
"""Of a face, as shares of its cell."""


def write_pack(folder: Path, *, detector: bool = True, recogniser: bool = True) -> Path:
    """A pack folder under the names of buffalo_l's files."""
    folder.mkdir(parents=True, exist_ok=True)
    if detector:
        onnx.save(_detector(), folder / "det_10g.onnx")
    if recogniser:
        onnx.save(_recogniser(), folder / "w600k_r50.onnx")
    return folder


def red_cells(height: int, width: int, *corners: tuple[int, int], cell: int = CELL) -> np.ndarray:
    """A black RGB picture with red squares at these (x, y)."""
    picture = np.zeros((height, width, 3), dtype=np.uint8)
    for x, y in corners:
        picture[y : y + cell, x : x + cell, 0] = 255
    return picture


def _detector() -> onnx.ModelProto:
    nodes: list[onnx.NodeProto] = []
    weights: list[onnx.TensorProto] = []
    levels = [_level(stride, nodes, weights) for stride in (8, 16, 32)]
    names = [level[kind] for kind in range(3) for level in levels]
    outputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [f"n{name}", width])
        for name, width in zip(names, (1, 1, 1, 4, 4, 4, 10, 10, 10), strict=True)
    ]
    return _model("detector", nodes, weights, [1, 3, "height", "width"], outputs)


def _level(stride: int, nodes: list[onnx.NodeProto], weights: list[onnx.TensorProto]) -> tuple[str, str, str]:
    """Scores, boxes and landmarks of one stride; only the coarsest ever fires."""
    red_minus_rest = np.zeros((1, 3, stride, stride), dtype=np.float32)
    if stride == CELL:
        red_minus_rest[:] = np.array([1.0, -0.5, -0.5], dtype=np.float32)[:, None, None] / stride**2

    def constant(name: str, value: np.ndarray) -> str:
        weights.append(numpy_helper.from_array(value, f"{name}{stride}"))
        return f"{name}{stride}"

    def node(kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        nodes.append(helper.make_node(kind, inputs, [f"{output}{stride}"], **attributes))
        return f"{output}{stride}"

    flat = constant("flat", np.array([-1, 1], dtype=np.int64))
    red = node(
        "Conv",
        ["input.1", constant("kernel", red_minus_rest), constant("bias", np.array([-1.0], dtype=np.float32))],
        "red",
        strides=[stride, stride],
        kernel_shape=[stride, stride],
    )
    logits = node("Mul", [red, constant("gain", np.array(10.0, dtype=np.float32))], "logits")
    cells = node("Reshape", [node("Sigmoid", [logits], "probability"), flat], "cells")
    anchors = node("Reshape", [node("Concat", [cells, cells], "pairs", axis=1), flat], "score")
    nothing = node("Mul", [anchors, constant("zero", np.array(0.0, dtype=np.float32))], "nothing")
    box = constant("extent", np.array([[0, 0, CELL, CELL]], dtype=np.float32) / stride)
    points = constant("points", LANDMARKS.reshape(1, 10) * CELL / stride)
    return anchors, node("Add", [nothing, box], "box"), node("Add", [nothing, points], "landmarks")


def _recogniser() -> onnx.ModelProto:
    nodes = [
        helper.make_node("GlobalAveragePool", ["input.1"], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["683"]),
    ]
    output = helper.make_tensor_value_info("683", TensorProto.FLOAT, [1, 3])
    return _model("recogniser", nodes, [], ["batch", 3, 112, 112], [output])


def _model(
    name: str,
    nodes: list[onnx.NodeProto],
    weights: list[onnx.TensorProto],
    shape: list[int | str],
    outputs: list[onnx.ValueInfoProto],
) -> onnx.ModelProto:
    picture = helper.make_tensor_value_info("input.1", TensorProto.FLOAT, shape)
    graph = helper.make_graph(nodes, name, [picture], outputs, weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
