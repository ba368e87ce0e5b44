"""Tests of ``bench house``: its counts, and its edits that add a field."""

import ast
import math
import shutil
from pathlib import Path

import grimp
import pytest

from benchmarks import house


def test_a_new_number_of_a_person_is_written_into_few_files_that_still_parse(tmp_path: Path):
    shutil.copytree(house.ROOT / "lib_uniid", tmp_path / "lib_uniid")
    touched = {house.change(tmp_path, edit) for edit in house.ADDED}
    assert len(touched) <= house.FILES
    for path in touched:
        assert house.FIELD in (tmp_path / path).read_text()
        ast.parse((tmp_path / path).read_text())


@pytest.mark.slow
def test_a_new_number_of_a_person_is_in_every_place():
    assert house.files_touched() == 3  # the table of fields, the method, and docs/api.md


def test_an_edit_that_fits_nowhere_is_refused(tmp_path: Path):
    (tmp_path / "a.py").write_text("weight = 1\nweight = 2\n")
    for anchor in ("height", "weight"):
        with pytest.raises(ValueError, match="correct ADDED"):
            house.change(tmp_path, house.Edit(files="*.py", anchor=anchor, text=""))


def test_imports_point_down_in_this_tree_and_the_count_sees_one_that_does_not():
    graph = house.imports(grimp.build_graph("lib_uniid", cache_dir=None))
    assert house.back_arrows(graph, house.layers()) == []
    order = [["ui"], ["api", "models"], ["errors"]]
    drawn: dict[str, set[str]] = {
        "x": set(),
        "x.ui": {"x.api.a"},
        "x.api.a": {"x.api.b", "x.models"},
        "x.api.b": {"x.errors", "x"},
        "x.models": set(),
        "x.errors": {"x.ui"},
    }
    assert sorted(house.back_arrows(drawn, order)) == [("x.api.a", "x.models"), ("x.errors", "x.ui")]


def test_circles_are_counted_as_groups():
    graph = {"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a", "e"}, "e": set[str](), "f": {"g"}, "g": {"f"}}
    assert house.circles(graph) == {frozenset("abc"), frozenset("fg")}


def test_a_name_of_a_method_is_detected_in_any_case_and_in_file_names(tmp_path: Path):
    (tmp_path / "methods" / "toy").mkdir(parents=True)
    (tmp_path / "methods" / "toy" / "__init__.py").write_text("toy\n")
    (tmp_path / "a.py").write_text("one\nToy\n")
    (tmp_path / "toy_file.py").touch()
    names = house.method_names(tmp_path / "methods")
    assert house.names_outside(names, tmp_path) == ["a.py:2", "toy_file.py:0"]


def test_names_of_networks_may_stand_beside_the_networks_alone(tmp_path: Path):
    (tmp_path / "encoders").mkdir()
    (tmp_path / "encoders" / "red.py").write_text("Red, blue, IP-Adapter FaceID\n")
    (tmp_path / "encoders" / "sum.py").write_text("import red\nblue\n")
    (tmp_path / "builtin.py").write_text("blue\n")
    (tmp_path / "b.py").write_text("IP-Adapter FaceID\nred\nfaceid\n")
    found = house.names_outside(["red", "blue", "faceid"], tmp_path)
    assert found == ["b.py:2", "b.py:3", "encoders/red.py:1", "encoders/sum.py:2"]


def test_the_names_of_a_method_are_those_that_its_plugin_registers():
    names = house.method_names(house.ROOT / house.METHODS)
    assert {"uniportrait", "curricularface", "clip_vision", "uniportrait-router_sd15.bin"} < {*names}
    assert not house.GENERAL & {*names}


def test_a_method_that_is_not_there_has_no_lines(tmp_path: Path):
    assert math.isnan(house.lines_of(tmp_path / "toy.py"))
    (tmp_path / "toy.py").write_text("one\ntwo\n")
    assert house.lines_of(tmp_path / "toy.py") == 2


def test_weights_are_counted_by_what_their_names_end_in():
    assert house.weights([Path("README.md")]) == 0
    assert 1e6 < house.weights(house.tracked(house.ROOT)) <= house.MEGABYTES * 1e6
