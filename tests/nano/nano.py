"""What the tests of examples/nano share: the path to it, running test_ functions."""
import os
import sys
import traceback

SOURCE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(SOURCE, "examples/nano"))
sys.dont_write_bytecode = True


def main(tests: dict) -> None:
    """Runs every test_ function of the dictionary; exit 1 when one fails."""
    failed = 0
    for name, test in list(tests.items()):
        if not name.startswith("test_"):
            continue
        try:
            test()
            print("ok    ", test.__doc__)
        except Exception:
            failed += 1
            print("FAILED", test.__doc__)
            traceback.print_exc(file=sys.stdout)
    sys.exit(failed != 0)
