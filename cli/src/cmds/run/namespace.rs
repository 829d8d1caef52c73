//! Network and mount namespaces of one's own.

use std::fs;
use std::io;

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use rustix::process::{getgid, getuid};

/// Why there are none.
#[derive(Debug, thiserror::Error)]
pub(super) enum NamespaceError {
    #[error(
        "cannot make a network namespace: {0}: expected root, or a host that lets users make namespaces (sysctl \
         user.max_user_namespaces above 0, kernel.unprivileged_userns_clone=1 on Debian, \
         kernel.apparmor_restrict_unprivileged_userns=0 on Ubuntu)"
    )]
    NotAllowed(Errno),
    #[error("cannot {what}: {error}")]
    System { what: &'static str, error: io::Error },
}

fn system<E: Into<io::Error>>(what: &'static str) -> impl FnOnce(E) -> NamespaceError {
    move |error| NamespaceError::System { what, error: error.into() }
}

/// Leaves for a network namespace without any interface, and a mount namespace whose mounts nobody else sees. Who is
/// not root leaves for a user namespace too, in which they are who they are: the command gets no privilege.
///
/// To be called by the only thread there is.
pub(super) fn leave() -> Result<(), NamespaceError> {
    let own = CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS;
    match unshare(own) {
        Ok(()) => {}
        Err(Errno::EPERM) => {
            let (user, group) = (getuid().as_raw(), getgid().as_raw());
            unshare(own | CloneFlags::CLONE_NEWUSER).map_err(NamespaceError::NotAllowed)?;
            // user_namespaces(7): a group can be mapped without privileges only when no groups can be dropped
            for (file, content) in [
                ("setgroups", "deny".to_owned()),
                ("uid_map", format!("{user} {user} 1")),
                ("gid_map", format!("{group} {group} 1")),
            ] {
                fs::write(format!("/proc/self/{file}"), content)
                    .map_err(system("be oneself in a user namespace"))?;
            }
        }
        Err(errno) => return Err(NamespaceError::NotAllowed(errno)),
    }
    let slave = MsFlags::MS_REC | MsFlags::MS_SLAVE;
    mount(None::<&str>, "/", None::<&str>, slave, None::<&str>).map_err(|errno| match errno {
        // AppArmor on Ubuntu lets users make the namespace, and do nothing in it
        Errno::EPERM | Errno::EACCES => NamespaceError::NotAllowed(errno),
        errno => system("keep mounts to oneself")(errno),
    })?;
    // /sys goes on showing the interfaces of the namespace that it was mounted in. In a container, or as a user,
    // that may not be possible: what is seen there cannot be used.
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC | MsFlags::MS_RDONLY;
    let _ = mount(Some("sysfs"), "/sys", Some("sysfs"), flags, None::<&str>);
    // so that ping works for those without privileges, as on most hosts
    let group = getgid().as_raw();
    drop(fs::write("/proc/sys/net/ipv4/ping_group_range", format!("{group} {group}")));
    Ok(())
}
