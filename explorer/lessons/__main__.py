"""The command line of `explorer.lessons.command`."""

import logging
import sys

if __name__ == "__main__":
    logging.disable(logging.WARNING)  # Streamlit warns, at its import already, that there is no server

    from explorer.lessons.command import main

    sys.exit(main())
