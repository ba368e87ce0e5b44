"""An insightface pack in which a face is a red patch: two tiny ONNX files with the official names and shapes.

The detector looks at a picture of 640 x 640 (what insightface fits into it) and calls a place a face where
96 x 96 pixels around it are red; the recogniser projects an 8 x 8 thumbnail at random.
"""

import io
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

SIDE, STRIDES, ANCHORS = 640, (8, 16, 32), 2
OUTPUTS = ("448", "471", "494", "451", "474", "497", "454", "477", "500")
LANDMARKS = ((-1.0, -1.0), (1.0, -1.0), (0.0, 0.0), (-0.8, 1.0), (0.8, 1.0))


def red_face_picture(*centres: tuple[int, int], size: tuple[int, int] = (256, 128)) -> np.ndarray:
    """Width and height in pixels; red patches of 64 x 64 around the centres (x, y) on grey."""
    width, height = size
    picture = np.full((height, width, 3), 128, dtype=np.uint8)
    for x, y in centres:
        picture[max(0, y - 32) : y + 32, max(0, x - 32) : x + 32] = (255, 0, 0)
    return picture


def write_pack(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(_detector(), folder / "det_10g.onnx")
    onnx.save(_recogniser(), folder / "w600k_r50.onnx")
    return folder


def _detector() -> onnx.ModelProto:
    window = np.zeros((1, 3, 96, 96), dtype=np.float32)
    window[0, :, :, :] = np.array([1.0, -0.5, -0.5], dtype=np.float32)[:, None, None] / 96**2
    constants = {
        "window": window,
        "threshold": np.array([-1.85 * 40], dtype=np.float32),
        "steepness": np.array([40.0], dtype=np.float32),
        "column": np.array([-1, 1], dtype=np.int64),
    }
    nodes = [
        helper.make_node("Conv", ["input.1", "window"], ["red"], strides=[32, 32], pads=[32, 32, 32, 32]),
        helper.make_node("Mul", ["red", "steepness"], ["steep"]),
        helper.make_node("Add", ["steep", "threshold"], ["logit"]),
        helper.make_node("Sigmoid", ["logit"], ["score"]),
        helper.make_node("Reshape", ["score", "column"], ["scores"]),
        helper.make_node("Mul", ["scores", "zero"], ["none"]),
        helper.make_node("Concat", ["scores", "none"], ["pairs"], axis=1),
        helper.make_node("Reshape", ["pairs", "column"], ["494"]),
    ]
    constants["zero"] = np.zeros(1, dtype=np.float32)
    box = np.array([3.5, 3.5, 4.5, 4.5], dtype=np.float32)  # 256 x 256 around the middle of the place
    points = (np.array(LANDMARKS, dtype=np.float32) + 0.5).ravel()
    for level, stride in enumerate(STRIDES):
        places = (SIDE // stride) ** 2 * ANCHORS
        outputs = {3 + level: np.tile(box, (places, 1)), 6 + level: np.tile(points, (places, 1))}
        if stride < 32:
            outputs[level] = np.zeros((places, 1), dtype=np.float32)
        for number, value in outputs.items():
            constants[f"constant {number}"] = value
            nodes.append(helper.make_node("Identity", [f"constant {number}"], [OUTPUTS[number]]))
    return _model(nodes, constants, (1, 3, SIDE, SIDE), OUTPUTS)


def _recogniser() -> onnx.ModelProto:
    projection = np.random.default_rng(0).normal(size=(192, 512)).astype(np.float32)
    nodes = [
        helper.make_node("AveragePool", ["input.1"], ["thumbnail"], kernel_shape=[14, 14], strides=[14, 14]),
        helper.make_node("Flatten", ["thumbnail"], ["flat"]),
        helper.make_node("MatMul", ["flat", "projection"], ["683"]),
    ]
    return _model(nodes, {"projection": projection}, ("n", 3, 112, 112), ("683",))


def _model(
    nodes: list[onnx.NodeProto],
    constants: dict[str, np.ndarray],
    shape: tuple[int | str, ...],
    outputs: tuple[str, ...],
) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "red faces",
        [helper.make_tensor_value_info("input.1", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


def png(path: Path, *centres: tuple[int, int]) -> Path:
    """A file with a picture of faces at these places."""
    buffer = io.BytesIO()
    Image.fromarray(red_face_picture(*centres)).save(buffer, format="PNG")
    path.write_bytes(buffer.getvalue())
    return path
