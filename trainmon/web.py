"""The site's own process: daphne, without what it would load to speak TLS itself (8 MB of each); what stands before it does.

    python -m trainmon.web -b 0.0.0.0 -p 8000        every option of daphne's; the application is ours
"""

import sys

from trainmon.absent import absent

with absent("OpenSSL", "service_identity"):
    from daphne.cli import CommandLineInterface

if __name__ == "__main__":
    CommandLineInterface().run([*sys.argv[1:], "trainmon.asgi:application"])
