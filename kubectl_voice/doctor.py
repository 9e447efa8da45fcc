"""The command doctor: what is wrong with this installation."""

import sys

from kubectl_voice.ailments import examine
from kubectl_voice.command import Context, Namespace, Output, run
from kubectl_voice.findings import Weight
from kubectl_voice.installation import gather_installation
from kubectl_voice.output import Format, build_findings, console, print_json
from kubectl_voice.tables import finding_rows


def doctor(namespace: Namespace = None, context: Context = None, output: Output = Format.TABLE) -> None:
    """Say what is wrong with this installation, and what to do. Exit code 1 where something is."""
    known = run(namespace, context, lambda cluster: gather_installation(cluster.api, cluster.context))
    found = examine(known)
    if output is Format.JSON:
        print_json({"findings": finding_rows(found), "unread": known.unread})
    else:
        out = console()
        out.print(build_findings(found) if found else f"Nothing is wrong in namespace {known.namespace!r}.")
        for what in known.unread:
            out.print(f"Not looked at, for want of rights: {what}", markup=False)
    if any(finding.weight <= Weight.OPERATION for finding in found):
        sys.exit(1)
