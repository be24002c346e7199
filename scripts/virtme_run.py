"""virtme-run, whose first mount of the host's files in a kernel with modules is cached as well."""

import sys

from virtme import mkinitramfs
from virtme.commands import run

OPTIONS = "version=9p2000.L,trans=virtio,"

if OPTIONS not in mkinitramfs._MOUNT_ROOT_HOST:
    sys.exit("virtme-run mounts the host's files in another way than this script knows")
mkinitramfs._MOUNT_ROOT_HOST = mkinitramfs._MOUNT_ROOT_HOST.replace(
    OPTIONS, OPTIONS + "cache=loose,"
)
sys.exit(run.main())
