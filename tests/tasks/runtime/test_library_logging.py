"""Libraries log to streams that are open."""

import io
import logging
import sys

from tasks.runtime.library_logging import quiet_library


def test_a_handler_with_a_closed_stream_writes_to_stderr():
    stream, logger = io.TextIOWrapper(io.BytesIO()), logging.getLogger("dvc")
    handler = logging.StreamHandler(stream)
    logger.addHandler(handler)
    try:
        quiet_library("dvc")
        assert handler.stream is stream
        stream.close()
        quiet_library("dvc")
        assert handler.stream is sys.stderr
        assert logger.level == logging.WARNING
    finally:
        logger.removeHandler(handler)
