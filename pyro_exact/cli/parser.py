"""The command line: typed functions, from which jsonargparse makes flags, help, YAML files and checks."""

from __future__ import annotations

import re
import sys
import typing
from argparse import SUPPRESS
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NoReturn

from jsonargparse import ArgumentError, ArgumentParser

from pyro_exact import __version__
from pyro_exact.cli.complete import complete
from pyro_exact.cli.diagnose import diagnose_checkpoint
from pyro_exact.cli.figures import interpolate, reconstruct, sample
from pyro_exact.cli.output import say
from pyro_exact.cli.runs import demo, evaluate, recipes, train
from pyro_exact.recipes import Training
from pyro_exact.recipes.limits import is_out_of_memory
from pyro_exact.recipes.parsing import closest_match
from pyro_exact.recipes.plain import LARGEST_FILE, LOADER, expands

COMMANDS: dict[str, Callable[..., None]] = {
    "train": train,
    "evaluate": evaluate,
    "sample": sample,
    "complete": complete,
    "interpolate": interpolate,
    "reconstruct": reconstruct,
    "diagnose": diagnose_checkpoint,  # jsonargparse looks for a function in `pyro_exact` too, whose `diagnose` is late
    "recipes": recipes,
    "demo": demo,
}

# Settings that take the memory of a command.
_MODEL = "the size of the model, as its depth and width in --model"
_LOWER = {
    "train": f"--training.batch_size, --training.initial_images or {_MODEL}",
    "evaluate": "--batch_size or --k",
    "sample": "--n",
    "complete": "--n or --completions",
    "interpolate": "--n or --steps",
    "reconstruct": "--n",
    "diagnose": "--n or --k",
    "demo": "--training.batch_size",
}

_IN_WORDS = {
    "NoneType": "null",
    "bool": "true or false",
    "float": "a number",
    "int": "an integer",
    "list[float]": "a list of numbers",
    "list[int]": "a list of integers",
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line: exit code 2 for a wrong command, 1 for what went wrong later, 130 for Ctrl-C."""
    command, given = "", sys.argv[1:] if arguments is None else arguments
    try:
        if any(len(argument) > LARGEST_FILE or expands(argument) for argument in given):
            raise ArgumentError(
                None, "An argument is too long, or holds YAML with anchors. Write its values out."
            )
        parsed = _parser(given).parse_args(list(_normal(given)))
        command = parsed.subcommand
        values = parsed[command].as_dict()
        del values["config"]
        COMMANDS[command](**values)
    except ArgumentError as error:
        _fail(_readable(str(error)), 2)
    except (MemoryError, RuntimeError, ImportError, OSError) as error:
        if is_out_of_memory(error):
            _fail(f"There is not enough memory. Lower {_LOWER.get(command, _MODEL)}.", 1)
        if isinstance(error, (ModuleNotFoundError, OSError)):
            _fail(_told(error), 1)
        raise
    except (ValueError, TypeError) as error:
        _fail(str(error), 1)
    except KeyboardInterrupt as error:
        _fail(str(error) or "interrupted", 130)


def _parser(given: Sequence[str]) -> ArgumentParser:
    """Return the parser for given arguments; the arguments of commands that are not among them are left out."""
    parser = ArgumentParser(
        prog="pyro-exact",
        description="Generative models with exact or exactly bounded likelihood.",
        version=__version__,
        exit_on_error=False,
        parser_mode=LOADER,
        allow_abbrev=False,  # a flag that another one comes to abbreviate would change its meaning
    )
    commands = parser.add_subcommands(required=True)
    for name, function in COMMANDS.items():
        summary = (function.__doc__ or "").splitlines()[0]
        command = ArgumentParser(
            description=summary, exit_on_error=False, parser_mode=LOADER, allow_abbrev=False
        )
        if name in given:
            _add_arguments(command, function)
        commands.add_subcommand(name, command, help=summary)
    return parser


def _add_arguments(command: ArgumentParser, function: Callable[..., None]) -> None:
    """Add the arguments of a function to the parser of its command."""
    # Where annotations are text, jsonargparse also runs what a module imports for type checking
    # alone, such as torch. So they are resolved here.
    function.__annotations__ = typing.get_type_hints(function)

    command.add_argument(
        "--config", action="config", help="A YAML file with any of these arguments."
    )
    command.add_function_arguments(function, as_positional=True, skip={"training"})
    if "training" in function.__annotations__:
        command.add_class_arguments(Training, "training")
        # Only what is given may differ from the recipe.
        settings = [key for key in command.get_defaults().keys() if key.startswith("training.")]
        command.set_defaults(dict.fromkeys(settings, SUPPRESS))


def _normal(arguments: Sequence[str]) -> Iterator[str]:
    """Let flags be written with dashes, and those that are true or false without a value."""
    for argument, following in zip(arguments, [*arguments[1:], ""], strict=False):
        if not argument.startswith("--"):
            yield argument
            continue
        flag, equals, value = argument[2:].partition("=")
        flag = flag.replace("-", "_")
        bare = flag in _flags(bool) and not equals and following not in ("true", "false")
        yield f"--{flag}{equals}{value}" + ("=true" if bare else "")


def _flags(kind: type = object) -> set[str]:
    """Return the names of all flags, or of those that take a value of one type."""
    owners: list[tuple[str, Callable[..., Any]]] = [
        ("", function) for function in COMMANDS.values()
    ]
    owners.append(("training.", Training.__init__))
    hints = (
        (prefix + name, hint)
        for prefix, f in owners
        for name, hint in typing.get_type_hints(f).items()
    )
    return {name for name, hint in hints if kind in (object, hint)}


def _readable(message: str) -> str:
    """Return an error of jsonargparse in one line, with the known name nearest to an unknown one."""
    message = " ".join(re.sub(r"<class '(\w+)'>", r"\1", message).replace("typing.", "").split())
    message = re.sub(
        r"Does not validate against any.* Subtypes: \[(.*?)\] Errors:.*(Given value: )",
        r"Expected \1. \2",
        message,
    )
    message = re.sub(r'Parser key "(.+?)"', r"--\1", message)
    message, mistyped = re.subn(
        r": Expected (?:an? )?(.+)\. (?:Given|Got) value: (.*)", _mistyped, message
    )
    known = {*_flags(), *COMMANDS}
    words = [word for word in re.findall(r"(?:--|')([\w.]+)", message) if word not in known]
    message += next((f".{hint}" for word in words if (hint := closest_match(word, known))), "")
    return f"{message}. Correct it; --help explains it." if mistyped else message


def _mistyped(found: re.Match[str]) -> str:
    """Return in words which types an argument takes, and what came."""
    types = re.split(r", (?![^\[]*\])", found[1])  # commas within brackets belong to one type
    *others, last = (_IN_WORDS.get(kind, kind) for kind in types)
    return f" expects {', '.join(others)}{' or ' if others else ''}{last}; got {found[2]}"


def _told(error: Exception) -> str:
    """Return an error in words; those of the operating system begin with a number, and say nothing of what to do."""
    if not isinstance(error, OSError) or not error.strerror:
        return str(error)
    if error.filename is None:
        return f"{error.strerror}. Check where the output goes."  # a pipe whose reader has left, or a full disk
    return f"{error.filename}: {error.strerror}. Check the name and its permissions, or choose another one."


def _fail(message: str, code: int) -> NoReturn:
    say(message)
    sys.exit(code)
