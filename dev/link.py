"""Make `ostiary` importable and runnable in this environment, straight from the checkout.

An editable install would need a build backend from the network beside the locked requirements; a path file and
a launcher do the same with nothing more to trust.
"""

import stat
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
site = Path(sysconfig.get_path("purelib"))
(site / "ostiary-checkout.pth").write_text(f"{ROOT / 'src'}\n", encoding="utf-8")
launcher = Path(sys.executable).parent / "ostiary"
launcher.write_text(
    f"#!{sys.executable}\nimport sys\n\nfrom ostiary.cli.entry import main\n\nsys.exit(main())\n", encoding="utf-8"
)
launcher.chmod(launcher.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
