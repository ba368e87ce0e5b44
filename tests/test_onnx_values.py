"""Tests of the weights in an ONNX file: values that are no numbers are named, and unchecked weights, too."""

import random
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from lib_uniid import onnx_values
from lib_uniid.errors import UnknownCheckpointError
from lib_uniid.onnx_values import require_finite
from tests.onnx_pack import write_pack

KINDS = {"float16": TensorProto.FLOAT16, "bfloat16": TensorProto.BFLOAT16}
BITS = {  # -inf, NaN, another NaN
    "float16": (0xFC00, 0x7E00, 0x7C01),
    "bfloat16": (0xFF80, 0x7FC0, 0x7F81),
}
LARGEST = {"float16": 0x7BFF, "bfloat16": 0x7F7F}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write_pack(tmp_path) / "w600k_r50.onnx"


def halves(kind: str, bits: list[int], *, raw: bool) -> TensorProto:
    tensor = TensorProto(name="spoiled", data_type=KINDS[kind], dims=[len(bits)])
    if raw:
        tensor.raw_data = np.array(bits, "<u2").tobytes()
    else:
        tensor.int32_data.extend(bits)
    return tensor


def add(file: Path, *tensors: TensorProto, nodes: tuple[onnx.NodeProto, ...] = ()) -> Path:
    model = onnx.load(file)
    model.graph.initializer.extend(tensors)
    model.graph.node.extend(nodes)
    onnx.save(model, file)
    return file


def constant(tensor: TensorProto) -> onnx.NodeProto:
    return helper.make_node("Constant", [], ["scale"], value=tensor)


@pytest.mark.parametrize("raw", [True, False])
@pytest.mark.parametrize(("kind", "bits"), [(kind, one) for kind in BITS for one in BITS[kind]])
def test_16_bit_weights_that_are_no_numbers_are_named(file: Path, kind: str, bits: int, raw: bool):
    good = [0, 1, 127, 128, 0x3C00, LARGEST[kind], 0x8000 | LARGEST[kind]]
    add(file, halves(kind, good, raw=raw))
    assert require_finite(file) is None
    add(file, halves(kind, [*good, bits, 1], raw=raw))
    with pytest.raises(UnknownCheckpointError, match=r"w600k_r50\.onnx is damaged: spoiled holds"):
        require_finite(file)


@pytest.mark.parametrize("kind", KINDS)
def test_every_value_of_a_packed_list_is_checked(file: Path, kind: str, monkeypatch: pytest.MonkeyPatch):
    """Integers of one to three bytes, some of them across the ends of blocks."""
    monkeypatch.setattr(onnx_values, "_BLOCK", 8)
    chance = random.Random(5)
    finite = [bits for bits in range(2**16) if bits & BITS[kind][0] & 0x7FFF != BITS[kind][0] & 0x7FFF]
    good = [chance.choice([1, 200, chance.choice(finite)]) for _ in range(40)]
    signed = [bits - 2**16 if bits >= 2**15 else bits for bits in (*good, *[0xBF80] * 8)]
    add(file, halves(kind, good, raw=False), halves(kind, signed, raw=False))
    assert require_finite(file) is None
    model = onnx.load(file)
    for place in range(len(good)):
        for wrong in (BITS[kind][1], BITS[kind][1] - 2**16):  # a writer may take them for signed ones
            spoiled = [*good[:place], wrong, *good[place + 1 :]]
            del model.graph.initializer[:]
            model.graph.initializer.append(halves(kind, spoiled, raw=False))
            onnx.save(model, file)
            with pytest.raises(UnknownCheckpointError, match="spoiled holds"):
                require_finite(file)


@pytest.mark.parametrize(("name", "said"), [("", "scale"), ("spoiled", "spoiled")])
def test_a_constant_that_is_no_number_is_named_as_its_node_gives_it(file: Path, name: str, said: str):
    tensor = onnx.numpy_helper.from_array(np.array([1, np.inf], np.float32), name)
    add(file, nodes=(constant(tensor),))
    with pytest.raises(UnknownCheckpointError, match=f"is damaged: {said} holds values"):
        require_finite(file)


@pytest.mark.parametrize("number", [np.float32(np.inf), np.full((1, 1), -np.inf, np.float32)])
def test_a_constant_of_one_number_may_be_infinite(file: Path, number: np.ndarray):
    """Such as the bound of a Clip node."""
    add(file, nodes=(constant(onnx.numpy_helper.from_array(np.asarray(number), "bound")),))
    assert require_finite(file) is None


def test_a_file_with_more_fields_than_the_limit_is_reported_unchecked_beyond_its_weights(file: Path):
    add(file, nodes=(helper.make_node("Constant", [], ["many"], value_ints=range(200_001)),))
    assert require_finite(file) == "more than 200000 fields"
    add(file, halves("float16", [0x7C00], raw=True))
    with pytest.raises(UnknownCheckpointError, match="spoiled holds"):
        require_finite(file)


def subgraph() -> onnx.NodeProto:
    tensor = onnx.numpy_helper.from_array(np.array([np.nan], np.float32), "spoiled")
    graph = helper.make_graph([constant(tensor)], "then", [], [])
    return helper.make_node("If", ["683"], ["either"], then_branch=graph, else_branch=graph)


def elsewhere() -> TensorProto:
    tensor = TensorProto(
        name="far", data_type=TensorProto.FLOAT, dims=[2], data_location=TensorProto.EXTERNAL
    )
    tensor.external_data.add(key="location", value="far.bin")
    return tensor


@pytest.mark.parametrize(
    ("tensors", "nodes", "said"),
    [
        ((), (subgraph(),), "weights in subgraphs"),
        ((elsewhere(),), (), "weights in other files"),
        (
            (TensorProto(name="small", data_type=TensorProto.FLOAT8E5M2, dims=[1], raw_data=b"\x7c"),),
            (),
            "weights of a type other than float16, bfloat16, float32 and float64",
        ),
        ((elsewhere(),), (subgraph(), subgraph()), "weights in other files; weights in subgraphs"),
    ],
    ids=["subgraph", "other file", "float8", "two"],
)
def test_unchecked_weights_are_reported(
    file: Path, tensors: tuple[TensorProto, ...], nodes: tuple[onnx.NodeProto, ...], said: str
):
    assert require_finite(add(file, *tensors, nodes=nodes)) == said


def test_sparse_weights_and_weights_of_functions_are_reported_unchecked(file: Path):
    model = onnx.load(file)
    model.graph.sparse_initializer.add(dims=[1])
    model.functions.add(name="one")
    onnx.save(model, file)
    assert require_finite(file) == "sparse weights; weights in functions"


def test_unpacked_numbers_are_reported_unchecked(file: Path):
    """Two more fields 5 of a tensor of float16, in a second piece of the graph."""
    tensor = TensorProto(name="single", data_type=TensorProto.FLOAT16, dims=[2]).SerializeToString()
    tensor += b"\x28\x01\x28\x02"
    graph = b"\x2a" + bytes([len(tensor)]) + tensor
    file.write_bytes(file.read_bytes() + b"\x3a" + bytes([len(graph)]) + graph)
    assert list(onnx.load(file).graph.initializer[-1].int32_data) == [1, 2]
    assert require_finite(file) == "16-bit weights that are not packed"


def test_a_damaged_or_hostile_file_is_no_failure(file: Path):
    add(file, halves("float16", [1, 500, 20000], raw=False), nodes=(subgraph(),))
    data, chance = file.read_bytes(), random.Random(3)
    for _ in range(300):
        spoiled = bytearray(data)
        spoiled[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        file.write_bytes(spoiled)
        try:
            said = require_finite(file)
        except UnknownCheckpointError as error:
            said = str(error)
        assert said is None or said
    file.write_bytes(data[:-5])
    assert require_finite(file) == "the file is damaged"
