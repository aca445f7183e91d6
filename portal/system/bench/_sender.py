"""A process that pushes numbered samples into a portal and writes down each one that was acknowledged.

python -m portal.system.bench._sender SERVER_ID LEDGER: one number a sample, counting up; a line "at_ms number" is
written, and forced to disk, only after `record` has returned. It goes on until it is killed, whatever fails meanwhile.
"""

from __future__ import annotations

import os
import sys
import time

import django


def main(server_id: int, ledger: str) -> None:
    django.setup()
    from django.db import DatabaseError, connections

    from monitoring.history.frame import Frame
    from monitoring.history.record import record

    number = 0
    with open(ledger, "a") as out:
        while True:
            number += 1
            at_ms = int(time.time() * 1000)
            frame = Frame.of(server_id, at_ms, {"ledger": float(number)})
            while True:  # what was not acknowledged is sent again, as it is
                try:
                    record([frame], origin="ledger")
                    break
                except (DatabaseError, OSError):
                    connections.close_all()
                    time.sleep(0.1)
            out.write(f"{at_ms} {number}\n")
            out.flush()
            os.fsync(out.fileno())
            time.sleep(0.02)


main(int(sys.argv[1]), sys.argv[2])
