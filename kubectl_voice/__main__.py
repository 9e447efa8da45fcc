"""The commands of `kubectl voice`."""

import typer

from kubectl_voice import calls, doctor, pools

app = typer.Typer(
    name="kubectl voice",
    help="Calls, pools and what is wrong with them.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.command()(calls.top)
app.command()(calls.why)
app.command()(calls.transcript)
app.command()(calls.timeline)
app.command()(calls.move)
app.command()(calls.end)
app.command()(pools.pool)
app.command()(pools.drain)
app.command()(doctor.doctor)


def main() -> None:
    """Runs the command that was typed."""
    app(prog_name="kubectl voice")


if __name__ == "__main__":
    main()
