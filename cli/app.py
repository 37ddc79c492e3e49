"""The commands, and what happens when one fails."""

import errno
import logging
import sys
from typing import Annotated, NoReturn

import typer

from .. import __version__
from ..errors import AcclimateError
from . import classes, device, life, signing, updates
from .adapt import adapt
from .advise import advise
from .align import align
from .compare import compare
from .compress import compress
from .console import fail, prepare
from .convert import convert
from .cuts import cuts
from .demo import demo
from .explain import explain
from .gains import gains
from .inspect import inspect
from .pretrain import pretrain
from .rank import rank
from .report import report
from .verify import verify

EXIT_REFUSED, EXIT_USAGE, EXIT_INTERRUPTED = 1, 2, 130
_EPILOG = "Exit codes: 0 done, 1 refused or failed, 2 wrong usage, 3 adaptation not applied, 130 interrupted."

app = typer.Typer(
    name="acclimate",
    help="Ship one general model to many devices and let each adapt its last layers to its own place.",
    epilog=_EPILOG,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command("demo")(demo)
app.command("convert")(convert)
app.command("pretrain")(pretrain)
app.command("report")(report)
app.command("compare")(compare)
app.command("compress")(compress)
app.command("cuts")(cuts)
app.command("rank")(rank)
app.command("advise")(advise)
app.command("verify")(verify)
app.command("keygen")(signing.keygen)
app.command("sign")(signing.sign)
app.command("explain")(explain)
app.command("gains")(gains)
app.command("inspect")(inspect)
app.command("predict")(device.predict)
app.command("observe")(device.observe)
app.command("adapt")(adapt)
app.command("align")(align)
app.command("versions")(device.versions)
app.command("rollback")(device.rollback)
# A value may begin with a minus, and is no option then.
app.command("label", context_settings={"ignore_unknown_options": True})(life.label)
app.command("forget")(life.forget)
app.command("suggest")(life.suggest)
app.command("suspects")(life.suspects)
app.command("estimate")(life.estimate)
app.command("export")(life.export)
app.add_typer(classes.app)
app.add_typer(updates.app)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"acclimate {__version__}")
        raise typer.Exit


@app.callback()
def options(
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log what happens to standard error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    """Options of every command."""
    if verbose:
        logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(name)s: %(message)s")


def run() -> None:
    """Run the command line; errors of ours are one line, without a traceback unless what happens is logged."""
    prepare()
    try:
        app()
    except AcclimateError as error:
        logging.getLogger(__name__).info("where it failed:", exc_info=error)
        fail(str(error), EXIT_REFUSED)
    except (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError) as error:
        fail(f"{error.filename}: {error.strerror}. Check the path.", EXIT_REFUSED)
    except OSError as error:
        advice = " Make room there, and do it again." if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
        fail(f"{error.filename or 'the system'}: {error.strerror or error}.{advice}", EXIT_REFUSED)
    except KeyboardInterrupt:
        _interrupted()
    except SystemExit as left:
        # typer makes this of Ctrl-C within a command, without a word.
        if left.code == EXIT_INTERRUPTED:
            _interrupted()
        raise


def _interrupted() -> NoReturn:
    fail("interrupted; what was stored before stays.", EXIT_INTERRUPTED)
