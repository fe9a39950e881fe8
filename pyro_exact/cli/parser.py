"""The command line: jsonargparse makes flags, help, YAML files and checks from typed functions."""

from __future__ import annotations

import re
import sys
import typing
from argparse import SUPPRESS
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, NoReturn, TypeGuard

from jsonargparse import ArgumentError, ArgumentParser

from pyro_exact import __version__
from pyro_exact.cli.complete import complete
from pyro_exact.cli.compress import compress, decompress
from pyro_exact.cli.demo import demo
from pyro_exact.cli.diagnose import diagnose_checkpoint
from pyro_exact.cli.evaluate import evaluate
from pyro_exact.cli.export import export
from pyro_exact.cli.figures import interpolate, reconstruct
from pyro_exact.cli.new import new
from pyro_exact.cli.output import say
from pyro_exact.cli.recipes import recipes
from pyro_exact.cli.sample import sample
from pyro_exact.cli.train import train
from pyro_exact.recipes import Training
from pyro_exact.recipes.limits import is_out_of_memory
from pyro_exact.recipes.parsing import closest_match
from pyro_exact.recipes.plain import LARGEST_FILE, LOADER, expands

# jsonargparse looks for a function in the package itself too. There `diagnose` would import torch,
# so this function has another name.
COMMANDS: dict[str, Callable[..., None]] = {
    "train": train,
    "evaluate": evaluate,
    "sample": sample,
    "complete": complete,
    "interpolate": interpolate,
    "reconstruct": reconstruct,
    "diagnose": diagnose_checkpoint,
    "compress": compress,
    "decompress": decompress,
    "export": export,
    "recipes": recipes,
    "new": new,
    "demo": demo,
}

# Arguments without a flag that may be left out, and their help.
OPTIONAL_POSITIONAL: dict[Callable[..., None], dict[str, str]] = {
    recipes: {
        "name": "Name of a recipe, or of a model such as nade, to describe: the paper, the "
        "settings, the command for training, and our own runs."
    },
}

# The flags to lower if a command needs too much memory.
_MODEL = "the size of the model, as its depth and width in --model"
_LOWER = {
    "train": f"--training.batch_size, --training.initial_images or {_MODEL}",
    "evaluate": "--batch_size or --k",
    "sample": "--n",
    "complete": "--n or --completions",
    "interpolate": "--n or --steps",
    "reconstruct": "--n",
    "diagnose": "--n or --k",
    "compress": "--block_size or --n",
    "decompress": "--block_size when the file is compressed",
    "export": "nothing: use a larger machine",
    "demo": "--training.batch_size",
}

_TYPES = {
    "NoneType": "null",
    "bool": "true or false",
    "float": "a number",
    "int": "an integer",
    "list[float]": "a list of numbers",
    "list[int]": "a list of integers",
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line.

    The exit code is 2 for a wrong command, 1 for an error later, and 130 for Ctrl-C.

    Args:
        arguments: The arguments of a command; the default is the arguments of the process.
    """
    command, given = "", sys.argv[1:] if arguments is None else arguments
    try:
        if any(len(argument) > LARGEST_FILE or expands(argument) for argument in given):
            raise ArgumentError(
                None, "An argument is too long, or holds YAML with anchors. Write its values out."
            )
        parsed = _parser(given).parse_args(list(_normal(given)))
        command = parsed.subcommand
        _call(COMMANDS[command], parsed[command].as_dict())
    except ArgumentError as error:
        _fail(_readable(str(error)), 2)
    except (MemoryError, RuntimeError, ImportError, OSError) as error:
        if is_out_of_memory(error):
            _fail(f"There is not enough memory. Lower {_LOWER.get(command, _MODEL)}.", 1)
        if isinstance(error, (ModuleNotFoundError, OSError)):
            _fail(_in_words(error), 1)
        raise
    except (ValueError, TypeError) as error:
        _fail(str(error), 1)
    except KeyboardInterrupt as error:
        _fail(str(error) or "interrupted", 130)


def _call(function: Callable[..., None], values: Mapping[str, Any]) -> None:
    """Call a command using the values of the flags."""
    arguments = {name: value for name, value in values.items() if name != "config"}
    for parameter, group in _groups(function).items():
        members = {field.name: arguments.pop(field.name) for field in fields(group)}
        arguments[parameter] = group(**members)
    function(**arguments)


def _parser(given: Sequence[str]) -> ArgumentParser:
    """Return the parser; for speed, only commands among the given arguments get their flags."""
    parser = ArgumentParser(
        prog="pyro-exact",
        description="Generative models with exact or exactly bounded likelihood.",
        version=__version__,
        exit_on_error=False,
        parser_mode=LOADER,
        allow_abbrev=False,  # an abbreviation could get another meaning with a new flag
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
    """Add the arguments of a function to the parser of the corresponding command."""
    # If annotations are text, jsonargparse also runs the imports that a module makes for type
    # checking alone, such as that of torch. So annotations are resolved here.
    groups = _groups(function)
    for owner in (function, *(group.__init__ for group in groups.values())):
        owner.__annotations__ = typing.get_type_hints(owner)

    command.add_argument(
        "--config", action="config", help="A YAML file with any of these arguments."
    )
    for group in groups.values():
        command.add_class_arguments(group, as_group=False, as_positional=True)
    optional = OPTIONAL_POSITIONAL.get(function, {})
    for name, text in optional.items():
        command.add_argument(name, nargs="?", type=str, help=text)
    command.add_function_arguments(
        function, as_group=False, as_positional=True, skip={"training", *optional, *groups}
    )

    if "training" in function.__annotations__:
        command.add_class_arguments(Training, "training")
        # Only the settings that are given may differ from the recipe.
        settings = [key for key in command.get_defaults().keys() if key.startswith("training.")]
        command.set_defaults(dict.fromkeys(settings, SUPPRESS))


def _groups(function: Callable[..., None]) -> dict[str, type[Any]]:
    """Return the parameters of a command whose type is a dataclass: groups of flags."""
    hints = typing.get_type_hints(function)
    return {name: hint for name, hint in hints.items() if _is_group(hint)}


def _is_group(hint: object) -> TypeGuard[type[Any]]:
    return isinstance(hint, type) and is_dataclass(hint)


def _normal(arguments: Sequence[str]) -> Iterator[str]:
    """Write flags with underscores, and add the value of boolean flags that stand alone."""
    for argument, following in zip(arguments, [*arguments[1:], ""], strict=False):
        if not argument.startswith("--"):
            yield argument
            continue
        flag, equals, value = argument[2:].partition("=")
        flag = flag.replace("-", "_")
        bare = flag in _flags(bool) and not equals and following not in ("true", "false")
        yield f"--{flag}{equals}{value}" + ("=true" if bare else "")


def _flags(kind: type = object) -> set[str]:
    """Return the names of all flags, or of the flags whose value has a type."""
    owners: list[tuple[str, Callable[..., Any]]] = [("training.", Training.__init__)]
    for function in COMMANDS.values():
        owners.append(("", function))
        owners += [("", group.__init__) for group in _groups(function).values()]

    flags = set()
    for prefix, owner in owners:
        for name, hint in typing.get_type_hints(owner).items():
            if kind in (object, hint) and not _is_group(hint):
                flags.add(prefix + name)
    return flags


def _readable(message: str) -> str:
    """Return an error of jsonargparse in one line, with a hint for an unknown name."""
    message = re.sub(r"<class '(\w+)'>", r"\1", message).replace("typing.", "")
    message = " ".join(message.split())
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
    words = re.findall(r"(?:--|')([\w.]+)", message)
    hints = (closest_match(word, known) for word in words if word not in known)
    message += next((f".{hint}" for hint in hints if hint), "")
    return f"{message}. Correct it; --help explains it." if mistyped else message


def _mistyped(found: re.Match[str]) -> str:
    """Return in words the type that an argument should have, and the value."""
    types = re.split(r", (?![^\[]*\])", found[1])  # commas within brackets belong to one type
    *others, last = (_TYPES.get(kind, kind) for kind in types)
    expected = f"{', '.join(others)} or {last}" if others else last
    return f" expects {expected}; got {found[2]}"


def _in_words(error: Exception) -> str:
    """Return an error as text; for an error of the operating system, add advice."""
    if not isinstance(error, OSError) or not error.strerror:
        return str(error)
    if error.filename is None:  # a pipe whose reader has left, or a full disk
        return f"{error.strerror}. Check where the output goes."
    return (
        f"{error.filename}: {error.strerror}. Check the name and its permissions, or choose "
        f"another one."
    )


def _fail(message: str, code: int) -> NoReturn:
    say(message)
    sys.exit(code)
