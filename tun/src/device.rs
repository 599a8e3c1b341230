//! The TUN device: how the host and its programs reach the mesh.
//!
//! It carries IPv6 only, and nothing that the host did not mean to send: no link-local address, no duplicate address
//! detection, no router solicitation. It goes away with the process.

use std::collections::BTreeSet;
use std::io::{self, IoSlice};
use std::net::{IpAddr, Ipv6Addr};
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd};
use std::path::Path;
use std::{fs, thread};

use futures_util::TryStreamExt;
use molt_mesh::Prefix;
use netlink_packet_route::address::{AddressAttribute, AddressFlags, CacheInfo};
use netlink_packet_route::link::{
    AfSpecInet6, AfSpecUnspec, In6AddrGenMode, InfoKind, LinkAttribute, LinkInfo, LinkMessage,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteType,
};
use rtnetlink::{LinkUnspec, RouteMessageBuilder};
use rustix::io::Errno;
use tun_rs::{DeviceBuilder, Layer};

use crate::sys;

/// Packets that the host may queue while we are busy. The kernel's own default of 500 overflows in bursts of small
/// packets; each thousand super-packets are 64 MB, so more is only delay.
const QUEUE_LEN: u32 = 1000;

/// Metric of our routes, which no two of a prefix share: what whoever asks for none gets, `ip route` among them.
const METRIC: u32 = 1024;

/// Tells our routes from those that an operator adds with `ip route`, whose protocol is "boot".
const OURS: RouteProtocol = RouteProtocol::Static;

/// `IFNAMSIZ` of Linux, without the terminating zero.
const MAX_NAME: usize = 15;

/// What to create.
#[derive(Debug, Clone)]
pub struct DeviceConfig {
    /// Name of the interface, up to 15 characters.
    pub name: String,
    /// Addresses of this node, each of which becomes a /128 of the interface.
    pub addresses: Vec<Ipv6Addr>,
    /// Addresses that others lend to this node. The host answers at them, and takes none of them as the source of what it
    /// begins (they are deprecated, RFC 4862 section 5.5.4).
    pub lent: Vec<Ipv6Addr>,
    /// What is reached through the interface.
    pub routes: Vec<Prefix>,
    /// Longest packet in bytes, at least 1,280.
    pub mtu: u32,
}

/// Why there is no device, and what the operator can do.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// A kernel without IPv6, or one where it is switched off for this interface.
    #[error("IPv6 is switched off on this machine: set net.ipv6.conf.all.disable_ipv6=0 (sysctl)")]
    Ipv6Disabled,
    /// Names that Linux does not take.
    #[error("{0:?} cannot be the name of an interface: 1 to 15 characters, no slash and no space")]
    Name(String),
    /// Another program runs an interface of this name.
    #[error("the interface {0} belongs to another program: stop it, or choose another name")]
    NameTaken(String),
    /// What was inherited is another device than the one that is wanted.
    #[error("the inherited descriptor is not the TUN interface {0}")]
    NotInherited(String),
    /// `/dev/net/tun` is missing.
    #[error(
        "/dev/net/tun is missing: load the module (modprobe tun), or give the container --device /dev/net/tun"
    )]
    NoTun,
    /// An interface has the route into the mesh.
    #[error("another interface already leads to {0}: is another node running in this network namespace?")]
    RouteTaken(Prefix),
    /// The process may not create interfaces.
    #[error(
        "creating a TUN interface needs the capability CAP_NET_ADMIN: run as root, or give it to the program"
    )]
    NotPermitted,
    /// Anything else.
    #[error("cannot {what}")]
    Os {
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        #[source]
        error: io::Error,
    },
}

/// An interface that is up.
pub struct Device {
    fd: OwnedFd,
    name: String,
    /// The kernel takes and gives super-packets of UDP.
    udp_offload: bool,
}

impl Device {
    /// Creates the interface, with addresses and route, and sets it up. An interface of the same name that a dead
    /// process left behind is removed first.
    ///
    /// # Errors
    /// [`DeviceError`] says what the operator can do.
    pub fn create(config: &DeviceConfig) -> Result<Self, DeviceError> {
        if !name_is_valid(&config.name) {
            return Err(DeviceError::Name(config.name.clone()));
        }
        on_a_thread(create(config))
    }

    /// Takes over the interface that [`create`](Self::create) made in the process before this one, as it is: what the host has
    /// queued, and addresses and routes until [`configure`](Self::configure).
    ///
    /// # Errors
    /// If the descriptor is anything else than such an interface of this name.
    pub fn inherit(fd: OwnedFd, name: &str) -> Result<Self, DeviceError> {
        let is_ours =
            sys::tun_interface(fd.as_fd()).is_ok_and(|found| found.name == name && found.has_offloads);
        if !is_ours {
            return Err(DeviceError::NotInherited(name.to_owned()));
        }
        rustix::io::ioctl_fionbio(&fd, true)
            .map_err(|errno| os("make the TUN interface non-blocking")(errno.into()))?;
        let udp_offload =
            sys::set_tun_offloads(fd.as_fd()).map_err(os("set the offloads of the TUN interface"))?;
        Ok(Self { fd, name: name.to_owned(), udp_offload })
    }

    /// Gives the interface the addresses of `config`, and takes all others from it; and the same with routes, except for those
    /// that were not added here. What it has already is not touched.
    ///
    /// # Errors
    /// [`DeviceError`] says what the operator can do.
    pub fn configure(&self, config: &DeviceConfig) -> Result<(), DeviceError> {
        on_a_thread(async {
            let netlink = connect()?;
            let link = find(&netlink, &self.name).await?;
            let link = link.ok_or_else(|| os("look for the interface")(io::ErrorKind::NotFound.into()))?;
            let index = link.header.index;
            assign_addresses(&netlink, index, config).await?;
            assign_routes(&netlink, index, config).await
        })
    }

    /// Whether [`configure`](Self::configure) could add the routes of `config`. Nothing is changed.
    ///
    /// # Errors
    /// [`DeviceError::RouteTaken`] names the first that another interface has.
    pub fn check_routes(config: &DeviceConfig) -> Result<(), DeviceError> {
        on_a_thread(async {
            let netlink = connect()?;
            let link = find(&netlink, &config.name).await?;
            let here = link.map(|link| link.header.index);
            let present = list_routes(&netlink, like_any().build()).await?;
            let is_taken = |prefix: &&Prefix| {
                let mut oifs =
                    present.iter().filter(|it| destination_of(it) == **prefix).map(oif_of).peekable();
                oifs.peek().is_some() && oifs.all(|oif| oif.is_none() || oif != here)
            };
            config.routes.iter().find(is_taken).map_or(Ok(()), |prefix| Err(DeviceError::RouteTaken(*prefix)))
        })
    }

    /// The name of the interface.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether the kernel takes and gives super-packets of UDP (Linux 6.2), not only of TCP.
    #[must_use]
    pub fn has_udp_offload(&self) -> bool {
        self.udp_offload
    }

    /// Reads one packet or super-packet, behind its virtio header.
    pub(crate) fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(rustix::io::read(&self.fd, buffer)?)
    }

    /// Writes one packet or super-packet, behind its virtio header.
    pub(crate) fn write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        Ok(rustix::io::writev(&self.fd, slices)?)
    }
}

impl std::fmt::Debug for Device {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Device").field("name", &self.name).finish_non_exhaustive()
    }
}

impl AsFd for Device {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn name_is_valid(name: &str) -> bool {
    let good = |c: char| c.is_ascii_graphic() && c != '/' && c != ':' && c != '%';
    (1..=MAX_NAME).contains(&name.len()) && name.chars().all(good) && name != "." && name != ".."
}

/// Netlink is asynchronous here and a few round trips long. A thread of its own lets both a plain program and one inside of a
/// tokio runtime call this.
fn on_a_thread<T: Send>(work: impl Future<Output = Result<T, DeviceError>> + Send) -> Result<T, DeviceError> {
    thread::scope(|scope| {
        let run = || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build();
            runtime.map_err(os("start a runtime"))?.block_on(work)
        };
        scope.spawn(run).join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// A netlink socket. Where the kernel can (Linux 4.20), it lists only what is asked for: while a restart looks for the routes of
/// one interface among 200,000, no packet flows for 40 ms in place of 330.
fn connect() -> Result<rtnetlink::Handle, DeviceError> {
    let opened = rtnetlink::new_connection_with_strict_check().or_else(|_| rtnetlink::new_connection());
    let (connection, netlink, _) = opened.map_err(os("open a netlink socket"))?;
    tokio::spawn(connection);
    Ok(netlink)
}

async fn create(config: &DeviceConfig) -> Result<Device, DeviceError> {
    let netlink = connect()?;
    remove_leftover(&netlink, &config.name).await?;
    let (device, index) = open(config)?;
    // Best effort: in a container these files may be read-only, and netlink tells whether it matters.
    for (key, value) in [("disable_ipv6", "0"), ("accept_ra", "0"), ("autoconf", "0")] {
        let file = Path::new("/proc/sys/net/ipv6/conf").join(&config.name).join(key);
        if let Err(error) = fs::write(&file, value) {
            tracing::debug!(file = %file.display(), %error, "cannot set");
        }
    }
    // Before the interface is up, or the kernel would already have made a link-local address.
    let silent = AfSpecUnspec::Inet6(vec![AfSpecInet6::AddrGenMode(In6AddrGenMode::None)]);
    let link = LinkUnspec::new_with_index(index)
        .mtu(config.mtu)
        .append_extra_attribute(LinkAttribute::TxQueueLen(QUEUE_LEN))
        .append_extra_attribute(LinkAttribute::AfSpecUnspec(vec![silent]));
    netlink.link().set(link.build()).execute().await.map_err(netlink_failed("configure the interface"))?;
    assign_addresses(&netlink, index, config).await?;
    let up = LinkUnspec::new_with_index(index).up().build();
    netlink.link().set(up).execute().await.map_err(netlink_failed("set the interface up"))?;
    assign_routes(&netlink, index, config).await?;
    Ok(device)
}

/// Makes the addresses of an interface those of `config`.
async fn assign_addresses(
    netlink: &rtnetlink::Handle,
    index: u32,
    config: &DeviceConfig,
) -> Result<(), DeviceError> {
    let mut present = BTreeSet::new();
    let mut listed = netlink.address().get().set_link_index_filter(index).execute();
    while let Some(message) = listed.try_next().await.map_err(netlink_failed("list the addresses"))? {
        let address = message.attributes.iter().find_map(|attribute| match attribute {
            AddressAttribute::Address(IpAddr::V6(address)) => Some(*address),
            _ => None,
        });
        match address {
            Some(address) if config.addresses.contains(&address) || config.lent.contains(&address) => {
                present.insert(address);
            }
            Some(_) => netlink
                .address()
                .del(message)
                .execute()
                .await
                .map_err(netlink_failed("take an address from the interface"))?,
            None => {}
        }
    }
    let own = config.addresses.iter().map(|address| (*address, false));
    let lent = config.lent.iter().map(|address| (*address, true));
    for (address, is_lent) in own.chain(lent).filter(|(address, _)| !present.contains(address)) {
        let mut request = netlink.address().add(index, address.into(), 128);
        let attributes = &mut request.message_mut().attributes;
        attributes.push(AddressAttribute::Flags(AddressFlags::Nodad | AddressFlags::Noprefixroute));
        if is_lent {
            let mut lifetimes = CacheInfo::default();
            (lifetimes.ifa_preferred, lifetimes.ifa_valid) = (0, u32::MAX);
            attributes.push(AddressAttribute::CacheInfo(lifetimes));
        }
        request.execute().await.map_err(netlink_failed("add an address to the interface"))?;
    }
    Ok(())
}

/// Makes the routes of an interface those of `config`. Before those that are gone are removed the new ones are there, so that
/// what both cover has a route all the time.
async fn assign_routes(
    netlink: &rtnetlink::Handle,
    index: u32,
    config: &DeviceConfig,
) -> Result<(), DeviceError> {
    let mut present = list_routes(netlink, like_any().output_interface(index).build()).await?;
    present.retain(|route| oif_of(route) == Some(index));
    for prefix in &config.routes {
        if present.iter().any(|route| destination_of(route) == *prefix) {
            continue;
        }
        let route = RouteMessageBuilder::<Ipv6Addr>::new()
            .destination_prefix(prefix.addr(), prefix.len())
            .output_interface(index)
            .priority(METRIC)
            .protocol(OURS)
            .build();
        netlink.route().add(route).execute().await.map_err(|error| match errno_of(&error) {
            Some(Errno::EXIST) => DeviceError::RouteTaken(*prefix),
            _ => netlink_failed("add a route into the mesh")(error),
        })?;
    }
    present.retain(|route| route.header.protocol == OURS && !config.routes.contains(&destination_of(route)));
    for route in present {
        let deleted = netlink.route().del(route).execute().await;
        deleted.map_err(netlink_failed("take a route from the interface"))?;
    }
    Ok(())
}

/// All routes of the main table, whoever added them and whatever they do.
fn like_any() -> RouteMessageBuilder<Ipv6Addr> {
    RouteMessageBuilder::<Ipv6Addr>::new().protocol(RouteProtocol::Unspec).kind(RouteType::Unspec)
}

/// The routes of the main table with our metric, of which each prefix has one. That they are `like` something is a hint: older
/// kernels list all.
async fn list_routes(
    netlink: &rtnetlink::Handle,
    like: RouteMessage,
) -> Result<Vec<RouteMessage>, DeviceError> {
    let listed = netlink.route().get(like).execute().try_collect::<Vec<_>>().await;
    let mut routes = listed.map_err(netlink_failed("list the routes"))?;
    routes.retain(|it| it.header.table == RouteHeader::RT_TABLE_MAIN && metric_of(it) == Some(METRIC));
    Ok(routes)
}

fn destination_of(route: &RouteMessage) -> Prefix {
    let address = route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Destination(RouteAddress::Inet6(address)) => Some(*address),
        _ => None,
    });
    Prefix::new(address.unwrap_or(Ipv6Addr::UNSPECIFIED), route.header.destination_prefix_length)
}

fn oif_of(route: &RouteMessage) -> Option<u32> {
    route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Oif(index) => Some(*index),
        _ => None,
    })
}

fn metric_of(route: &RouteMessage) -> Option<u32> {
    route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Priority(metric) => Some(*metric),
        _ => None,
    })
}

/// The interface, not yet up, and its index.
fn open(config: &DeviceConfig) -> Result<(Device, u32), DeviceError> {
    // IFF_VNET_HDR with TSO, and USO where the kernel has it. The mask outlives a process on a persistent device, so it
    // is always set, never assumed.
    let tun = DeviceBuilder::new()
        .name(&config.name)
        .layer(Layer::L3)
        .with(|builder| {
            builder.offload(true);
        })
        .enable(false)
        .build_sync()
        .map_err(|error| match Errno::from_io_error(&error) {
            Some(Errno::PERM | Errno::ACCESS) => DeviceError::NotPermitted,
            Some(Errno::NOENT | Errno::NODEV | Errno::NXIO) => DeviceError::NoTun,
            Some(Errno::BUSY | Errno::INVAL) => DeviceError::NameTaken(config.name.clone()),
            _ => DeviceError::Os { what: "create the TUN interface", error },
        })?;
    tun.set_nonblocking(true).map_err(os("make the TUN interface non-blocking"))?;
    let index = tun.if_index().map_err(os("find the new interface"))?;
    let (udp_offload, fd) = (tun.udp_gso(), owned(tun));
    Ok((Device { fd, name: config.name.clone(), udp_offload }, index))
}

#[expect(unsafe_code, reason = "tun-rs gives its descriptor up only as a number")]
fn owned(tun: impl IntoRawFd) -> OwnedFd {
    // SAFETY: `into_raw_fd` gives up an open descriptor that nobody else owns.
    unsafe { OwnedFd::from_raw_fd(tun.into_raw_fd()) }
}

/// The interface of this name.
async fn find(netlink: &rtnetlink::Handle, name: &str) -> Result<Option<LinkMessage>, DeviceError> {
    let mut links = netlink.link().get().match_name(name.to_owned()).execute();
    match links.try_next().await {
        Err(error) if errno_of(&error) == Some(Errno::NODEV) => Ok(None),
        found => found.map_err(netlink_failed("look for the interface")),
    }
}

/// Removes an interface of our name that nobody has open. A TUN interface normally ends with its process, but one that
/// was made persistent stays.
async fn remove_leftover(netlink: &rtnetlink::Handle, name: &str) -> Result<(), DeviceError> {
    let Some(link) = find(netlink, name).await? else { return Ok(()) };
    if !is_abandoned_tun(&link) {
        return Err(DeviceError::NameTaken(name.to_owned()));
    }
    tracing::info!(name, "removing an interface that a dead process left behind");
    netlink.link().del(link.header.index).execute().await.map_err(netlink_failed("remove the old interface"))
}

/// A TUN interface has a carrier as long as a process has it open.
fn is_abandoned_tun(link: &LinkMessage) -> bool {
    let is_tun = |info: &LinkInfo| matches!(info, LinkInfo::Kind(InfoKind::Tun));
    let mut tun = false;
    let mut carrier = true;
    for attribute in &link.attributes {
        match attribute {
            LinkAttribute::LinkInfo(infos) => tun |= infos.iter().any(is_tun),
            LinkAttribute::Carrier(value) => carrier = *value != 0,
            _ => {}
        }
    }
    tun && !carrier
}

fn os(what: &'static str) -> impl Fn(io::Error) -> DeviceError {
    move |error| DeviceError::Os { what, error }
}

fn netlink_failed(what: &'static str) -> impl Fn(rtnetlink::Error) -> DeviceError {
    move |error| match errno_of(&error) {
        Some(Errno::PERM) => DeviceError::NotPermitted,
        // What the kernel says about IPv6 on an interface without it.
        Some(Errno::ACCESS | Errno::OPNOTSUPP | Errno::AFNOSUPPORT) => DeviceError::Ipv6Disabled,
        Some(errno) => DeviceError::Os { what, error: errno.into() },
        None => DeviceError::Os { what, error: io::Error::other(error) },
    }
}

fn errno_of(error: &rtnetlink::Error) -> Option<Errno> {
    match error {
        rtnetlink::Error::NetlinkError(message) => Some(Errno::from_raw_os_error(-message.raw_code())),
        _ => None,
    }
}
