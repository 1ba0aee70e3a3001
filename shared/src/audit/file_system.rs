//! File systems that several machines can use at the same time, on which an SQLite file is not safe.
//!
//! SQLite keeps the index of its write-ahead log in memory that all processes map from one file, and excludes them from
//! each other with POSIX locks: <https://www.sqlite.org/wal.html> says that all of them must be on the same host. A
//! network or cluster file system gives neither to two hosts, or only to those with a particular mount option, so that
//! two collectors could damage the file although both saw it as locked.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::statfs;

/// The types of the kernel's `statfs`, from `linux/magic.h` and from the drivers that are not part of it, with their
/// names.
const SHARED: [(u32, &str); 23] = [
    (0x0000_6969, "NFS"),
    (0x0000_517b, "SMB"),
    (0xff53_4d42, "CIFS"),
    (0xfe53_4d42, "SMB"),
    (0x0000_564c, "NCP"),
    (0x7375_7245, "Coda"),
    (0x5346_414f, "AFS"),
    (0x6b41_4653, "AFS"),
    // Minikube's mounts and the Windows drives of WSL; a map that several processes write to depends on its options.
    (0x0102_1997, "9p"),
    (0x00c3_6400, "Ceph"),
    (0x7461_636f, "OCFS2"),
    (0x0116_1970, "GFS2"),
    (0x0bd0_0bd0, "Lustre"),
    (0x1983_0326, "BeeGFS"),
    (0x4750_4653, "GPFS"),
    (0x2003_0528, "OrangeFS"),
    (0xaad7_aaea, "PanFS"),
    (0xbeef_dead, "StorNext"),
    (0x6163_6673, "ACFS"),
    (0x0131_11a8, "IBRIX"),
    // Folders of the host of a virtual machine, which has its own locks.
    (0xbacb_acbc, "VMware"),
    (0x786f_4256, "VirtualBox"),
    (0x7c7c_6673, "Parallels"),
];
/// The type of all file systems in user space, and of virtiofs.
const FUSE: u32 = 0x6573_5546;
/// The types of mounts in user space that only one machine uses: a local disk, a local overlay, and the folder of a
/// host that one virtual machine has, which Docker Desktop and minikube use.
const LOCAL_FUSE: [&str; 3] = ["fuseblk", "fuse.fuse-overlayfs", "virtiofs"];

/// The name of the file system of a file, or of the folder that it would be created in, if several machines can use it
/// at the same time.
pub(super) fn network_file_system(file: &Path) -> Option<String> {
    let found = statfs(file).or_else(|_| statfs(file.parent().unwrap_or(Path::new("/")))).ok()?;
    let magic = u32::try_from(found.f_type & 0xffff_ffff).ok()?;
    let mounts = || std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    shared(magic, || mount_type(&file.canonicalize().unwrap_or_else(|_| file.to_owned()), &mounts()))
}

fn shared(magic: u32, mount_type: impl FnOnce() -> Option<String>) -> Option<String> {
    if magic == FUSE {
        // A program decides where the data is, and the kernel does not know.
        let mounted = mount_type().unwrap_or_else(|| "fuse".to_owned());
        return (!LOCAL_FUSE.contains(&mounted.as_str())).then_some(mounted);
    }
    SHARED.iter().find(|(known, _)| *known == magic).map(|(_, name)| (*name).to_owned())
}

/// The type of the mount of a path, from the kernel's list; the longest mount point wins, and the last of equal ones,
/// which hides the others.
fn mount_type(path: &Path, mounts: &str) -> Option<String> {
    let mounted = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(1);
        let (point, kind) = (unescaped(fields.next()?), fields.next()?);
        path.starts_with(&point).then(|| (point.as_os_str().len(), kind))
    });
    mounted.max_by_key(|(length, _)| *length).map(|(_, kind)| kind.to_owned())
}

/// Returns a path of the list, in which blanks and backslashes are three octal digits after a backslash.
fn unescaped(field: &str) -> PathBuf {
    let mut bytes = Vec::new();
    let mut rest = field.as_bytes();
    while let [first, after @ ..] = rest {
        let octal =
            after.get(..3).filter(|_| *first == b'\\').and_then(|digits| std::str::from_utf8(digits).ok());
        if let Some(byte) = octal.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            bytes.push(byte);
            rest = after.get(3..).unwrap_or_default();
        } else {
            bytes.push(*first);
            rest = after;
        }
    }
    OsString::from_vec(bytes).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_system_of_one_machine_is_safe_and_one_of_several_is_named() {
        for (magic, mounted, found) in [
            (0xef53, "", None),      // ext4
            (0x5846_5342, "", None), // XFS
            (0x9123_683e, "", None), // btrfs
            (0x0102_1994, "", None), // tmpfs
            (0x794c_7630, "", None), // overlay
            (0x2fc1_2fc1, "", None), // ZFS
            (0x6969, "", Some("NFS")),
            (0xff53_4d42, "", Some("CIFS")),
            (0xfe53_4d42, "", Some("SMB")),
            (0x0102_1997, "", Some("9p")),
            (0x0bd0_0bd0, "", Some("Lustre")),
            (FUSE, "fuseblk", None),
            (FUSE, "virtiofs", None),
            (FUSE, "fuse.fuse-overlayfs", None),
            (FUSE, "fuse.sshfs", Some("fuse.sshfs")),
            (FUSE, "fuse.glusterfs", Some("fuse.glusterfs")),
            (FUSE, "fuse.gcsfuse", Some("fuse.gcsfuse")),
        ] {
            assert_eq!(shared(magic, || Some(mounted.to_owned())).as_deref(), found, "{magic:x} {mounted}");
        }
        assert_eq!(shared(FUSE, || None).as_deref(), Some("fuse"));
    }

    #[test]
    fn the_type_of_a_mount_is_that_of_the_longest_and_last_mount_point() {
        let mounts = "/dev/sda1 / ext4 rw 0 0\ns3 /srv/audit fuse.s3fs rw 0 0\n/dev/sdb1 /srv/audit/local fuseblk rw 0 0\n\
                      a /srv/two\\040words\\134 fuse.a rw 0 0\nb /srv/two\\040words\\134 fuse.b rw 0 0\n";
        for (path, found) in [
            ("/var/lib/audit.db", "ext4"),
            ("/srv/audit/audit.db", "fuse.s3fs"),
            ("/srv/audit/local/audit.db", "fuseblk"),
            ("/srv/auditor/audit.db", "ext4"),
            ("/srv/two words\\/audit.db", "fuse.b"),
        ] {
            assert_eq!(mount_type(Path::new(path), mounts).as_deref(), Some(found), "{path}");
        }
        assert_eq!(mount_type(Path::new("/x"), ""), None);
    }

    #[test]
    fn the_temporary_folder_of_this_machine_is_safe_for_a_file_that_does_not_exist_yet() {
        assert_eq!(network_file_system(&std::env::temp_dir().join("absent.db")), None);
    }
}
