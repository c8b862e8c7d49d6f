"""What holds for every command: its help, its examples, its width, its JSON, its completion."""

import importlib
import json
import re
import shlex

import pytest
import typer
from rich.cells import cell_len

from campaign import commands
from ntkscope.activations.registry import names as activations
from ntkscope.cli import completion
from ntkscope.cli.main import COMMANDS, GROUPS, main
from ntkscope.experiments.figures.gallery import figures
from ntkscope.networks.initialization import names as initializations
from ntkscope.statements.registry import homes, statements

DECLARED = commands.declared()
LISTS = {
    "check": ["--list", "--paper", "fanwang2020"],
    "eig": ["K.npy", "--plan"],
    "limit": [*commands.LINES["limit"], "--plan"],
}
QUICK = {**commands.LINES, "falsify": ["nguyen2021.lemma-5.5", "--trials", "1", "--seconds", "0.5"]}
# a sweep runs elsewhere in the tests; a line of BibTeX ends where BibTeX wants it
LINES = [(name, line) for name, line in QUICK.items() if name not in ("sweep run", "cite")]
LINES += list(LISTS.items())
CUT = re.compile(r"[^\W\d_]{3}…")  # a word that a column ended


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("commands")
    commands.prepare(made)
    return made


def run(capsys, *arguments):
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    said = capsys.readouterr()
    assert ended.value.code in (0, 1), said.err
    return said.out


@pytest.mark.parametrize(("name", "line"), LINES, ids=lambda v: v if isinstance(v, str) else "")
def test_output_is_as_wide_as_the_terminal(name, line, folder, capsys, monkeypatch):
    monkeypatch.chdir(folder)
    for columns in (80, 60):
        monkeypatch.setenv("COLUMNS", str(columns))
        for text in run(capsys, *name.split(), *line).splitlines():
            assert cell_len(text) <= columns, text
            assert not CUT.search(text)


@pytest.mark.parametrize("name", DECLARED)
def test_help_has_groups_defaults_and_examples_at_80_columns(name, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    text = run(capsys, *name.split(), "--help")
    assert all(cell_len(line) <= 80 for line in text.splitlines())
    assert "Examples" in text
    command = DECLARED[name]
    assert {"--json"} <= {opt for p in command.params for opt in p.opts}
    for parameter in command.params:
        if commands.takes_a_value(parameter):
            assert parameter.metavar, f"{name} {parameter.name} has no metavar"


EXAMPLES = [
    line.removeprefix("[cyan]ntkscope ").removesuffix("[/cyan]")
    for command in DECLARED.values()
    for line in command.epilog.split("\n\n")
    if line.startswith("[cyan]ntkscope")
]


@pytest.mark.parametrize("example", EXAMPLES)
def test_examples_parse(example):
    words = shlex.split(example)
    if words[0] == "sweep" and words[1] not in ("status", "export", "plot"):
        words.insert(1, "run")
    name = " ".join(words[: 2 if words[0] == "sweep" else 1])
    assert DECLARED[name].make_context(name, words[len(name.split()) :]).params


@pytest.mark.parametrize(
    ("name", "line"),
    [*LISTS.items(), *((n, commands.LINES[n]) for n in commands.LINES if n.startswith("sweep "))]
    + [(n, QUICK[n]) for n in ("reproduce", "falsify", "hermite")],
)
def test_json_is_json(name, line, folder, capsys, monkeypatch):
    monkeypatch.chdir(folder)
    assert json.loads(run(capsys, *name.split(), *line, "--json"))


def test_every_command_is_in_a_group_and_its_module_there():
    assert sum(map(len, GROUPS.values())) == len(COMMANDS)
    for module, _ in COMMANDS.values():
        assert importlib.util.find_spec(module) is not None


def completed(capsys, monkeypatch, *words):
    monkeypatch.setenv("_NTKSCOPE_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", " ".join(("ntkscope", *words)))
    monkeypatch.setenv("COMP_CWORD", str(len(words)))
    return run(capsys).split()


def test_the_shell_completes_commands_options_and_values(capsys, monkeypatch):
    assert completed(capsys, monkeypatch, "pre") == ["predict"]
    assert completed(capsys, monkeypatch, "inspect", "--acti") == ["--activation"]
    assert completed(capsys, monkeypatch, "train", "--activation", "si") == [
        "sigmoid",
        "silu",
        "sin",
    ]
    assert completed(capsys, monkeypatch, "check", "--paper", "kar") == ["karhadkar2024"]
    assert "falsify" in completed(capsys, monkeypatch, "")
    assert "nguyen2021.theorem-3.2" in completed(capsys, monkeypatch, "check", "nguyen2021.t")


def test_completion_knows_what_is_registered():
    own = {home.paper.key for home in homes() if home.own}
    assert own <= set(completion.papers(""))
    ids = {s.id for s in statements() if s.id.split(".")[0] in own}
    assert ids == set(completion.statements(""))
    assert {f.id for f in figures()} == set(completion.figures(""))
    assert completion.activations("") == list(activations())
    assert completion.initializations("") == list(initializations())


def test_an_option_with_its_name_as_metavar_says_its_name():
    """typer 0.27 takes such a metavar for the name: ``--DEVICE``."""
    seen = set()
    for module in {module for group in GROUPS.values() for module, _ in group.values()}:
        for command in importlib.import_module(module).app.registered_commands:
            for name, given in typer.utils.get_params_from_function(command.callback).items():
                option = given.default
                if isinstance(option, typer.models.OptionInfo) and option.metavar == name.upper():
                    seen.add(name)
                    assert option.param_decls, f"{module}: give {name} its name"
    assert seen == {"device", "paper", "style"}
