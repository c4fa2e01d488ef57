"""The command line: `graphtape record | replay | demo | ls | show | verify | redact | diff`.

Only click lives here: options in, one call, lines out. Its one rule: whatever is heavy (aiohttp above all) is imported
inside the command that needs it, so that `--help`, `ls` and `show` start at once.

Exit status: 0 done, 1 failed, 2 usage. `diff`: 0 same, 1 differs, 2 could not compare.
"""

from __future__ import annotations

import difflib
import json
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NoReturn

import click
import orjson

from graphtape import __version__
from graphtape.cassettes.showing.text import Paint
from graphtape.protocol.errors import GraphtapeError, UsageMistake

if TYPE_CHECKING:
    from graphtape.cassettes.reader import Cassette

_WIDTH_OF_A_PIPE = 120


class Failure(click.ClickException):
    """An error of ours, as a user meets it."""

    def __init__(self, message: str, *, exit_code: int = 1) -> None:
        super().__init__(message)
        vars(self)["exit_code"] = exit_code

    def show(self, file: IO[Any] | None = None) -> None:
        click.echo(f"graphtape: error: {self.message}", file=file, err=file is None)


class Command(click.Command):
    """A command whose epilog of examples keeps its lines, and whose errors are ours."""

    failed_code = 1

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except click.MissingParameter as error:
            example = (self.epilog or "").strip().partition("\n")[0]
            raise click.UsageError(f"{error.format_message()} For example: {example}", ctx) from None
        except click.NoSuchOption as error:
            word = error.option_name.lstrip("-")
            meant = self._option_of(word)
            if meant is None:
                raise
            raise click.UsageError(
                f"No such option '--{word}'. Did you mean '{meant} {word}'?", ctx
            ) from None
        except click.UsageError as error:
            if error.ctx is None:  # of an option without its value: click says it without the usage
                raise click.UsageError(error.message, ctx) from None
            raise

    def _option_of(self, word: str) -> str | None:
        """The option that takes this word: `--match` takes `strict`."""
        return next(
            (
                parameter.opts[0]
                for parameter in self.params
                if isinstance(parameter.type, click.Choice) and word in parameter.type.choices
            ),
            None,
        )

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        if self.epilog:
            with formatter.section("Examples"):
                formatter.write("".join(f"  {line}\n" for line in self.epilog.strip().splitlines()))

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except UsageMistake as error:
            raise click.UsageError(str(error), ctx) from None
        except GraphtapeError as error:
            raise Failure(str(error), exit_code=self.failed_code) from None


class Comparing(Command):
    """A command whose 1 means "differs": what it cannot read is 2."""

    failed_code = 2


class Commands(click.Group):
    """The group: answers a mistyped command with the one that was meant."""

    command_class = Command

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order of a first use, not of the alphabet."""
        return list(self.commands)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if self.get_command(ctx, name) is None and not name.startswith("-"):
            ctx.fail(f"there is no command {name!r}. {self._meant(ctx, name)}")
        return super().resolve_command(ctx, args)

    def _meant(self, ctx: click.Context, name: str) -> str:
        if name == "help":
            return "Help is an option: graphtape --help, and graphtape COMMAND --help."
        if name.endswith(".tape") or Path(name).is_file():
            return f"To look into a cassette: graphtape ls {name}"
        if name.startswith(("http://", "https://")):
            return f"To record a server: graphtape record {name} -o FILE.tape"
        known = self.list_commands(ctx)
        close = difflib.get_close_matches(name.lower(), [*known, *_OTHER_NAMES], n=1, cutoff=0.5)
        if close:
            return f"Did you mean {_OTHER_NAMES.get(close[0], close[0])!r}?"
        return f"The commands are {', '.join(known)}."


_OTHER_NAMES = {
    "list": "ls",
    "cat": "show",
    "view": "show",
    "inspect": "show",
    "play": "replay",
    "serve": "replay",
    "mock": "replay",
    "proxy": "record",
    "compare": "diff",
    "check": "verify",
    "clean": "redact",
    "mask": "redact",
    "sanitize": "redact",
}


class CassettePath(click.ParamType[Any]):
    """A cassette that is to be read: a file that is there, or the name of one that is alike."""

    name = "file"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if not value:
            self.fail("the name of a cassette is empty", param, ctx)
        if value.startswith(("http://", "https://")):
            self.fail(
                f"{value} is a server, not a cassette; to record it: graphtape record {value} -o FILE.tape",
                param,
                ctx,
            )
        path = Path(value)
        if path.is_dir():
            inside = sorted(path.glob("*.tape"))
            hint = f"; it holds {', '.join(str(found) for found in inside[:3])}" if inside else ""
            self.fail(f"{value} is a directory, not a cassette{hint}", param, ctx)
        if not path.exists():
            self.fail(f"there is no file {value}{_alike(path)}", param, ctx)
        return str(value)


def _alike(path: Path) -> str:
    try:
        names = [found.name for found in path.parent.iterdir() if found.suffix == ".tape"]
    except OSError:
        return f" (nor a directory {path.parent})"
    close = difflib.get_close_matches(path.name, names, n=1, cutoff=0.75)
    return f". Did you mean {path.parent / close[0]}?" if close else ""


class NewFile(click.Path):
    """A file that is to be written."""

    def __init__(self) -> None:
        # Whether it may be read and written is told, with its reason, when it is opened.
        super().__init__(dir_okay=False, readable=False)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not value:
            self.fail("the name of the file is empty", param, ctx)
        if value == "-":
            # It is also read, and masked in place; click would make a file of that name.
            self.fail(
                "a cassette is not written to standard output; name a file, such as chat.tape", param, ctx
            )
        if Path(value).is_dir():
            self.fail(
                f"{value} is a directory; name a file in it, such as {Path(value) / 'chat.tape'}", param, ctx
            )
        return super().convert(value, param, ctx)


class UpstreamUrl(click.ParamType[Any]):
    """The URL of a server; what else is wrong with it the recorder knows."""

    name = "url"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if str(value).endswith(".tape"):
            self.fail(
                f"{value} is a cassette, not a server; to serve it: graphtape replay {value}", param, ctx
            )
        return str(value)


class SpeedParam(click.ParamType[Any]):
    """`1`, a factor above 0, or `max`."""

    name = "1|N|max"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float | str:
        if value == "max":
            return "max"
        try:
            factor = float(value)
        except ValueError:
            factor = 0.0
        if not 0 < factor < float("inf"):
            self.fail(
                f"{value!r} is no speed: give 1, a factor above 0 (2 is twice as fast), or max", param, ctx
            )
        return factor


class ExchangeNumber(click.ParamType[Any]):
    """The number of an exchange, as `ls` shows it."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        text = str(value)
        if not (text.isascii() and text.isdigit() and int(text[:18]) > 0 and len(text) <= 18):
            self.fail(
                f"{value!r} is no number of an exchange: they count from 1 (graphtape ls shows them)",
                param,
                ctx,
            )
        return int(text)


class Seconds(click.ParamType[Any]):
    """A number of seconds: 0 or more, or more than 0."""

    name = "seconds"

    def __init__(self, *, above_zero: bool = False) -> None:
        self._above_zero = above_zero

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            seconds = float(value)
        except ValueError:
            seconds = -1.0
        if not 0 <= seconds < float("inf") or (self._above_zero and not seconds):
            least = "more than 0" if self._above_zero else "0 or more"
            self.fail(f"{value!r} is no number of seconds ({least})", param, ctx)
        return seconds


class Host(click.ParamType[str]):
    """An address to listen on."""

    name = "address"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Refuse what would listen everywhere without saying so, and what is more than an address."""
        host = str(value).strip()
        if not host:
            self.fail("give an address, e.g. 127.0.0.1, or 0.0.0.0 for all of this machine's", param, ctx)
        if host.startswith("[") and host.endswith("]"):
            host = host[1:-1]
        if "/" in host or host.startswith("[") or host.count(":") == 1:
            self.fail(f"{value!r} is more than an address; its port goes to --port", param, ctx)
        return host


class Port(click.ParamType[int]):
    """A port to listen on."""

    name = "port"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        text = str(value)
        if not (text.isascii() and text.isdigit() and len(text) <= 5 and int(text) <= 65535):
            self.fail(f"{value!r} is no port: they count from 1 to 65535, and 0 takes a free one", param, ctx)
        return int(text)


Callback = Callable[..., Any]


def _with(*options: Callable[[Callback], Callback]) -> Callable[[Callback], Callback]:
    """Several click decorators as one, in the order they are to appear in the help."""

    def decorate(function: Callback) -> Callback:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


def _speed(meaning: str) -> Callable[[Callback], Callback]:
    # click would show the name in capitals, and MAX is not taken.
    return click.option(
        "--speed",
        type=SpeedParam(),
        metavar=SpeedParam.name,
        default="1",
        show_default=True,
        help=meaning,
    )


_serving = _with(
    click.option("--allow-host", "allow_hosts", multiple=True, metavar="NAME",
                 help="A Host header to accept beside loopback names (repeatable; '*' for any)."),
    click.option("--cors-origin", "cors_origins", multiple=True, metavar="ORIGIN",
                 help="A browser origin to accept beside loopback ones (repeatable; '*' for any)."),
    click.option("--expose-location", is_flag=True,
                 help="Let browsers read the Location header, which arms automatic reconnection."),
    click.option("--quiet", "-q", is_flag=True, help="No progress and no log on stderr."),
)  # fmt: skip

_redacting = _with(
    click.option("--redact", multiple=True, metavar="NAME",
                 help="A further header, query or JSON field to mask (repeatable)."),
    click.option("--redact-env", multiple=True, metavar="VAR",
                 help="Mask the value of this environment variable wherever it appears (repeatable)."),
    click.option("--redact-json", multiple=True, metavar="PATH",
                 help="Mask what stands there in JSON request bodies, e.g. input.messages[*].content (repeatable)."),
    click.option("--redact-echo", is_flag=True,
                 help="Mask the credentials of a request also where its response repeats them."),
)  # fmt: skip

_json = click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
_color = click.option("--color", type=click.Choice(["auto", "always", "never"]), default="auto", show_default=True,
                      help="Colours; auto: on a terminal, unless NO_COLOR is set.")  # fmt: skip


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]}, no_args_is_help=True)
@click.version_option(__version__, "-V", "--version", prog_name="graphtape", message="%(prog)s %(version)s")
def app() -> None:
    """Record, replay and mock agent streams.

    graphtape records what a LangGraph Agent Server (or any server that streams SSE) sends, byte for byte and with its
    times, into one cassette file, and serves that cassette later as if it were the server.

    Start with: graphtape demo
    """


@app.command(
    epilog="""
graphtape record http://127.0.0.1:2024 -o chat.tape
graphtape record http://127.0.0.1:2024 -o chat.tape --widen
graphtape record http://127.0.0.1:2024 -o chat.tape --append
graphtape record https://example.com/agents -o prod.tape --redact customer_id
graphtape record http://127.0.0.1:2024 -o chat.tape --redact-env OPENAI_API_KEY --redact-echo
graphtape record http://127.0.0.1:2024 -o chat.tape --port 0
"""
)
@click.argument("upstream_url", type=UpstreamUrl())
@click.option(
    "-o",
    "--output",
    required=True,
    metavar="FILE",
    type=NewFile(),
    help="The cassette to write.",
)
@click.option("--host", type=Host(), default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port", type=Port(), default=2025, show_default=True, help="Port to listen on; 0 for a free one."
)
@click.option(
    "--widen",
    is_flag=True,
    help="Ask the upstream for every stream mode and subgraph that can be had together, with resumable ids; each "
    "client still gets what it asked for. It changes the run: message ids differ, a value that an unasked mode "
    "cannot write fails the run, and the server does and stores more. See docs/widening.md.",
)
@click.option(
    "--widen-events", is_flag=True, help="Widen to the mode `events` too, which makes models stream."
)
@click.option("--append", is_flag=True, help="Continue FILE with another recording.")
@click.option("--overwrite", is_flag=True, help="Replace FILE if it exists.")
@_redacting
@click.option(
    "--upstream-timeout",
    type=Seconds(above_zero=True),
    default=300.0,
    show_default=True,
    help="Longest wait for the upstream's response head.",
)
@click.option(
    "--sync-interval",
    type=Seconds(),
    default=0.1,
    show_default=True,
    help="How often the file is synced to the disk, in seconds.",
)
@click.option(
    "--on-write-error",
    type=click.Choice(["stop", "pass"]),
    default="stop",
    show_default=True,
    help="If FILE cannot be written: stop, or let traffic pass unrecorded.",
)
@_serving
def record(output: str, upstream_url: str, append: bool, overwrite: bool, **options: Any) -> None:
    """Record what UPSTREAM_URL sends to clients of this proxy.

    Point your client at the proxy's address instead of the server's. Every exchange goes into FILE as it happens;
    Ctrl-C ends the recording. Credentials in headers, and fields named like secrets, never reach the file.
    """
    if options["widen_events"] and not options["widen"]:
        raise click.UsageError("--widen-events says how wide --widen is: give both")
    if append and overwrite:
        raise click.UsageError("--append continues FILE and --overwrite replaces it: give one of them")
    from graphtape.workbench.serving import record_until_stopped  # noqa: PLC0415

    record_until_stopped(
        upstream_url, output, append=append, overwrite=overwrite, announce=_announce, **options
    )


@app.command(
    epilog="""
graphtape replay chat.tape
graphtape replay chat.tape --port 8123 --speed max
graphtape replay chat.tape --speed 4 --idle-limit 2
graphtape replay login.tape chat.tape --match strict --ignore input.session
graphtape replay chat.tape --ids unique --cut-after 5
curl -N http://127.0.0.1:2024/ok
"""
)
@click.argument("files", nargs=-1, required=True, metavar="FILE...", type=CassettePath())
@click.option("--host", type=Host(), default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port", type=Port(), default=2024, show_default=True, help="Port to listen on; 0 for a free one."
)
@_speed("1 keeps the recorded rhythm, N is N times as fast, max never waits.")
@click.option("--idle-limit", type=Seconds(), default=None, help="Cap every pause between events.")
@click.option(
    "--match",
    type=click.Choice(["strict", "nearest"]),
    default="nearest",
    show_default=True,
    help="What answers a run that was not recorded: nothing (404), or the nearest recorded one.",
)
@click.option(
    "--ids",
    type=click.Choice(["recorded", "unique"]),
    default="recorded",
    show_default=True,
    help="Event ids as recorded (they repeat), or made unique.",
)
@click.option(
    "--ignore",
    multiple=True,
    metavar="PATH",
    help="A field of the request not to compare, e.g. input.session (repeatable).",
)
@click.option(
    "--docs-semantics",
    is_flag=True,
    help="Thread streams as the official page describes them, where the observed server differs.",
)
@click.option(
    "--cut-after",
    metavar="PLACE",
    help="Break the connection of each run's first stream after so many events; 5.5 breaks inside the sixth, last "
    "behind the last, 5,3 also breaks the reconnection, and 5,... every one. See docs/replaying.md.",
)
@click.option(
    "--end-after",
    metavar="PLACE",
    help="The same, but the response ends there as if it were whole.",
)
@_serving
def replay(files: tuple[str, ...], **options: Any) -> None:
    """Serve cassettes as a mock of the server they were recorded from.

    Unmodified clients get the same bytes in the same rhythm. Ctrl-C stops the mock.
    """
    from graphtape.workbench.serving import replay_until_stopped  # noqa: PLC0415

    replay_until_stopped(files, announce=_announce, **options)


@app.command(
    epilog="""
graphtape demo
graphtape demo --speed 4
graphtape demo --speed max | tail -n 3
graphtape demo --keep demo.tape
NO_COLOR=1 graphtape demo
"""
)
@_speed("How fast the bundled cassette plays.")
@click.option(
    "--keep",
    type=NewFile(),
    default=None,
    metavar="FILE",
    help="Keep the cassette that the demo records.",
)
@_color
def demo(speed: float | str, keep: str | None, color: str) -> None:
    """The whole loop without a server: record, replay, compare, show.

    A bundled cassette, recorded from a real Agent Server, plays the upstream. A streaming client goes through the
    recording proxy, the new cassette is replayed, and every byte is compared.
    """
    from graphtape.workbench.demo import run_demo  # noqa: PLC0415

    sys.exit(run_demo(speed=speed, keep=keep, out=_line, width=_width(), paint=_paint(color)))


@app.command(
    epilog="""
graphtape ls chat.tape
graphtape ls *.tape
graphtape ls chat.tape | grep stream
graphtape ls chat.tape --json | jq '.cassettes[0].exchanges[].operation'
"""
)
@click.argument("files", nargs=-1, required=True, metavar="FILE...", type=CassettePath())
@_json
@_color
def ls(files: tuple[str, ...], as_json: bool, color: str) -> None:
    """List the exchanges of cassettes, one per line."""
    from graphtape.cassettes.showing.listing import format_listing, listing, listing_json  # noqa: PLC0415

    listings = []
    for index, path in enumerate(files):
        with _open(path) as cassette:
            listings.append(listing(cassette, path=path, size_bytes=os.path.getsize(path)))
        if not as_json:
            _lines(["", *format_listing(listings.pop(), width=_width(), paint=_paint(color))][index == 0 :])
    if as_json:
        _document(listing_json(listings))


@app.command(
    epilog="""
graphtape show chat.tape
graphtape show chat.tape 3
graphtape show chat.tape 3 --headers
graphtape show chat.tape 3 --json | jq '.events[].mode'
graphtape show chat.tape 3 --raw > body.sse
graphtape show chat.tape 3 --color always | less -R
"""
)
@click.argument("file", type=CassettePath())
@click.argument("number", type=ExchangeNumber(), required=False, metavar="[N]")
@click.option("--headers", is_flag=True, help="Also the headers of request and response.")
@click.option("--raw", is_flag=True, help="The response body's bytes, as they came, and nothing else.")
@_json
@_color
def show(*, file: str, number: int | None, headers: bool, raw: bool, as_json: bool, color: str) -> None:
    """Show one exchange on a time line.

    Exchange N of a cassette: the events of a stream with their times, or a plain answer with its headers and body.
    Without N: the only stream of the cassette; if there are several, a list to pick from.
    """
    if raw and as_json:
        raise click.UsageError("--raw prints bytes and --json a document: give one of them")
    from graphtape.cassettes.showing.timeline import choose, timeline, timeline_json  # noqa: PLC0415
    from graphtape.cassettes.showing.timeline_text import format_choices, format_timeline  # noqa: PLC0415

    with _open(file) as cassette:
        chosen = number or choose(cassette)
        if chosen is None and (raw or as_json):
            raise click.UsageError(
                f"{file} holds {len(cassette.exchanges)} exchanges: which one? (graphtape ls {file})"
            )
        if chosen is None:
            _lines(format_choices(cassette, path=file, width=_width(), paint=_paint(color)))
        elif raw:
            for chunk in cassette.iter_chunks(chosen):
                sys.stdout.buffer.write(chunk.data)
        elif as_json:
            for piece in timeline_json(timeline(cassette, chosen, path=file)):
                sys.stdout.buffer.write(piece)
        else:
            shown = timeline(cassette, chosen, path=file)
            _lines(format_timeline(shown, width=_width(), paint=_paint(color), headers=headers))


@app.command(
    epilog="""
graphtape verify chat.tape
graphtape verify chat.tape --json
graphtape verify chat.tape --secrets && git add chat.tape
graphtape verify chat.tape --secrets --redact-env OPENAI_API_KEY
for f in *.tape; do graphtape verify "$f"; done
"""
)
@click.argument("file", type=CassettePath())
@click.option(
    "--secrets",
    is_flag=True,
    help="Instead, look for what looks like a credential; exit with 1 if there is any.",
)
@click.option(
    "--redact", multiple=True, metavar="NAME", help="With --secrets: a further field that is a credential."
)
@click.option(
    "--redact-env", multiple=True, metavar="VAR", help="With --secrets: look for the value of this variable."
)
@_json
@_color
def verify(
    *,
    file: str,
    secrets: bool,
    redact: tuple[str, ...],
    redact_env: tuple[str, ...],
    as_json: bool,
    color: str,
) -> None:
    """Check a cassette and play it against itself.

    Says sound, unfinished (with what is whole and what is not), damaged (where) or self-replay differs (where).
    Sound and unfinished exit with 0, the others with 1. With --secrets it says where credentials may be, never which.
    """
    if secrets:
        _verify_secrets(file, redact, redact_env, as_json=as_json)
    if redact or redact_env:
        raise click.UsageError(
            "--redact and --redact-env say what to look for with --secrets: add that option"
        )
    from graphtape.workbench.selfreplay import format_verdict, verdict_json, verify_cassette  # noqa: PLC0415

    verdict = verify_cassette(file)
    if as_json:
        _document(verdict_json(verdict))
    else:
        _lines(format_verdict(verdict, paint=_paint(color)))
    sys.exit(0 if verdict.passed else 1)


def _verify_secrets(
    file: str, names: tuple[str, ...], variables: tuple[str, ...], *, as_json: bool
) -> NoReturn:
    from graphtape.cassettes.redaction.redactor import Redactor, environment_values  # noqa: PLC0415
    from graphtape.cassettes.redaction.secrets import find_secrets  # noqa: PLC0415
    from graphtape.cassettes.redaction.secrets_text import format_secrets, secrets_json  # noqa: PLC0415

    redactor = Redactor(names, environment_values(variables))
    with _open(file) as cassette:
        report = find_secrets(cassette, redactor)
    if as_json:
        _document(secrets_json(file, report))
    else:
        _lines(format_secrets(file, report))
    sys.exit(0 if report.passed else 1)


@app.command(
    epilog="""
graphtape redact chat.tape -o clean.tape
graphtape redact chat.tape -o clean.tape --found
graphtape redact chat.tape -o clean.tape --redact customer_id --redact-env OPENAI_API_KEY
graphtape redact chat.tape -o clean.tape --redact-json 'input.messages[*].content'
graphtape redact chat.tape -o clean.tape --value-file names.txt
graphtape redact chat.tape -o clean.tape --found && graphtape verify clean.tape --secrets
"""
)
@click.argument("file", type=CassettePath())
@click.option(
    "-o",
    "--output",
    required=True,
    metavar="FILE",
    type=NewFile(),
    help="The copy to write.",
)
@_redacting
@click.option(
    "--value-file",
    "value_files",
    multiple=True,
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False),
    help="Mask each line of this file wherever it appears (repeatable).",
)
@click.option("--found", is_flag=True, help="Mask also what verify --secrets finds.")
@click.option("--overwrite", is_flag=True, help="Replace the output if it exists.")
@_json
def redact(
    *,
    file: str,
    output: str,
    redact: tuple[str, ...],
    redact_env: tuple[str, ...],
    redact_json: tuple[str, ...],
    redact_echo: bool,
    value_files: tuple[str, ...],
    found: bool,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Copy a cassette without credentials.

    The copy is what the recorder would have written with these options: same times, same lengths of responses. What
    was masked is listed, never its value. The original stays.
    """
    from graphtape.cassettes.redaction.cleaning import clean, cleaning_json, format_cleaning  # noqa: PLC0415
    from graphtape.cassettes.redaction.redactor import environment_values, file_values  # noqa: PLC0415

    values = [*environment_values(redact_env), *file_values(value_files)]
    report = clean(
        file,
        output,
        names=redact,
        values=values,
        paths=redact_json,
        echo=redact_echo,
        found=found,
        overwrite=overwrite,
    )
    if as_json:
        _document(cleaning_json(report, file, output))
    else:
        _lines(format_cleaning(report, file, output))


@app.command(
    cls=Comparing,
    epilog="""
graphtape diff before.tape after.tape
graphtape diff before.tape after.tape --all
graphtape diff before.tape after.tape --json | jq .differences_total
graphtape diff before.tape after.tape > /dev/null && echo same
""",
)
@click.argument("a", type=CassettePath(), metavar="A")
@click.argument("b", type=CassettePath(), metavar="B")
@click.option("--all", "show_all", is_flag=True, help="Every difference, not the first and a count.")
@_json
@_color
def diff(a: str, b: str, show_all: bool, as_json: bool, color: str) -> None:
    """Compare two cassettes, ids and times aside.

    Ids may differ if one renaming explains all of them. Exit status: 0 same, 1 differs, 2 could not compare.
    """
    from graphtape.cassettes.showing.compare import compare  # noqa: PLC0415
    from graphtape.cassettes.showing.compare_text import comparison_json, format_comparison  # noqa: PLC0415

    with _open(a) as left, _open(b) as right:
        found = compare(left, right)
    if as_json:
        _document(comparison_json(found, left=a, right=b))
    else:
        paint = _paint(color)
        _lines(format_comparison(found, left=a, right=b, width=_width(), paint=paint, show_all=show_all))
    sys.exit(0 if found.same else 1)


def _open(path: str) -> Cassette:
    from graphtape.cassettes.reader import Cassette  # noqa: PLC0415

    return Cassette.open(path)


def _announce(line: str) -> None:
    click.echo(line)
    sys.stdout.flush()


def _line(line: str) -> None:
    click.echo(line, color=True)


def _lines(lines: Iterable[str]) -> None:
    for line in lines:
        _line(line)


def _document(document: Any) -> None:
    try:
        data = orjson.dumps(document, default=repr, option=orjson.OPT_INDENT_2)
    except TypeError:
        # A recorded target may hold bytes that are no UTF-8; as surrogates only the escapes of `json` can print them.
        data = json.dumps(document, default=repr, indent=2).encode()
    sys.stdout.buffer.write(data + b"\n")


def _paint(color: str) -> Paint:
    if color == "auto":
        wanted = sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
        return Paint(wanted)
    return Paint(color == "always")


def _width() -> int:
    return max(shutil.get_terminal_size((_WIDTH_OF_A_PIPE, 24)).columns, 60)


def main() -> NoReturn:
    """The entry point of the `graphtape` script."""
    _open_closed_streams()
    for stream in (sys.stdout, sys.stderr):
        # A terminal of another encoding gets escapes, not a traceback.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        code = app.main(prog_name="graphtape", standalone_mode=False)
        sys.stdout.flush()
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except (click.Abort, KeyboardInterrupt):
        code = 128 + signal.SIGINT
    except BrokenPipeError:
        # Whoever read us has enough (`| head`).
        code = _give_up_stdout()
    except OSError as error:
        code = _give_up_stdout()
        Failure(f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}").show()
    except Exception as error:
        # A bug of ours. A user can do nothing with a traceback; whoever mends it asks for one.
        if os.environ.get("GRAPHTAPE_TRACEBACK"):
            raise
        kind = type(error).__name__
        Failure(
            f"this is a bug in graphtape ({kind}: {error}); please report it, "
            "with what GRAPHTAPE_TRACEBACK=1 in the environment makes it print"
        ).show()
        code = 2 if sys.argv[1:2] == ["diff"] else 1  # `diff`: 1 would say that they differ
    sys.exit(code if isinstance(code, int) else 0)


def _open_closed_streams() -> None:
    """Give standard streams that the caller closed (`>&-`) a place to go, before a socket gets their number."""
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free number: this one
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115


def _give_up_stdout() -> int:
    """Let Python close a stdout that takes no more without a second complaint."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 1


if __name__ == "__main__":
    main()
