"""The reference of the Python API: each public name is on one page, and its docstring is whole."""

import dataclasses
import inspect
from pathlib import Path

import api
import docstrings
import pytest

import ntkscope as ntk
import ntkscope.networks

PAGES = api.pages(Path(__file__).parents[1] / "docs")
LISTED = [entry for page in PAGES for entry in api.listed(page.read_text())]
ROOMS = {
    "ntkscope": ntk,
    **{f"ntkscope.{m}": getattr(ntk, m) for m in ("activations", "data", "networks")},
}
# what the facade lends from a room, or a room from another, stands once
PUBLIC = {
    id(getattr(room, name)): (where, name)
    for where, room in reversed(ROOMS.items())
    for name in room.__all__
    if callable(getattr(room, name))
}
FUNCTIONS = [(w, n) for w, n in PUBLIC.values() if not inspect.isclass(getattr(ROOMS[w], n))]
RECORDS = [(w, n) for w, n in PUBLIC.values() if dataclasses.is_dataclass(getattr(ROOMS[w], n))]


def test_every_public_name_is_on_one_page():
    assert len(LISTED) == len(set(LISTED))
    found = [id(getattr(ROOMS[where], name)) for where, name in LISTED if where in ROOMS]
    assert sorted(found) == sorted(PUBLIC)


@pytest.mark.parametrize("entry", PUBLIC.values(), ids=".".join)
def test_it_has_a_docstring_of_its_own(entry):
    where, name = entry
    found = getattr(ROOMS[where], name)
    doc = vars(found).get("__doc__") if inspect.isclass(found) else found.__doc__
    assert doc
    assert not doc.startswith(f"{name}(")  # what dataclasses write themselves


@pytest.mark.parametrize("entry", FUNCTIONS, ids=".".join)
def test_a_function_says_what_it_takes_and_returns(entry):
    where, name = entry
    found = getattr(ROOMS[where], name)
    takes = inspect.signature(found)
    assert set(takes.parameters) - docstrings.names(found.__doc__, "Parameters") == set()
    # what takes nothing returns what its name says
    if takes.parameters and takes.return_annotation not in ("None", None):
        assert "Returns" in [section for section, _ in docstrings.blocks(lines(found))]


@pytest.mark.parametrize("entry", RECORDS, ids=".".join)
def test_a_record_says_what_its_fields_are(entry):
    where, name = entry
    found = getattr(ROOMS[where], name)
    fields = {f.name for f in dataclasses.fields(found) if not f.name.startswith("_")}
    assert fields - docstrings.names(found.__doc__, "Parameters", "Attributes") == set()


def lines(found):
    return inspect.cleandoc(found.__doc__).splitlines()


def test_a_docstring_is_read_as_it_is_meant():
    text = """|x| ≤ a_k * b of ``|y|``.

    Parameters
    ----------
    K, V: kernels of
        any kind. n: N.
    plain
        Below its name.

    Told after x_. Raises nothing here.

    Raises ValueError for K | V.
    """
    assert docstrings.names(text, "Parameters") == {"K", "V", "n", "plain"}
    shown = "\n".join(docstrings.rendered(inspect.cleandoc(text).splitlines()))
    assert shown.startswith("\\|x\\| ≤ a_k \\* b of ``|y|``.")
    assert "    ``K``, ``V``\n        kernels of\n        any kind.\n    ``n``\n        N." in shown
    assert "\nTold after x\\_. Raises nothing here.\n" in shown
    assert shown.endswith(":Raises:\n\n    ValueError for K \\| V.\n")
