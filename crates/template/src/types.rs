//! The types of Docker 28's documents: tables for [`crate::schema`].

use crate::schema::StructType;
use crate::schema::Type::{self, Any, Bool, Duration, Guess, Int, Struct, StructPointer, Text};

const TEXTS: Type = Type::List(&Text, "[]string");
/// A map of texts.
pub(crate) const STRINGS: Type = Type::Map(&Text, "map[string]string", None);
/// A map of anything.
pub(crate) const GUESSES: Type = Type::Map(&Guess, "map[string]interface {}", None);
const ANY_LIST: Type = Type::List(&Guess, "[]interface {}");
const INT_POINTER: Type = Type::Pointer(&Int, "*int64");
const BOOL_POINTER: Type = Type::Pointer(&Bool, "*bool");
const EMPTY: StructType = StructType { name: "struct {}", fields: &[] };
const SET: Type = Type::Map(&Struct(&EMPTY), "map[string]struct {}", None);
const PORT_SET: Type = Type::Map(&Struct(&EMPTY), "nat.PortSet", Some("nat.Port"));
const PORTS: Type = Type::Map(
    &Type::List(&Struct(&PORT_BINDING), "[]nat.PortBinding"),
    "nat.PortMap",
    Some("nat.Port"),
);

const PORT_BINDING: StructType =
    StructType { name: "nat.PortBinding", fields: &[("HostIP:HostIp", Text), ("HostPort", Text)] };

const HEALTH_RESULT: StructType = StructType {
    name: "*container.HealthcheckResult",
    fields: &[("Start", Text), ("End", Text), ("ExitCode", Int), ("Output", Text)],
};

const HEALTH: StructType = StructType {
    name: "*container.Health",
    fields: &[
        ("Status", Text),
        ("FailingStreak", Int),
        ("Log", Type::List(&StructPointer(&HEALTH_RESULT), "[]*container.HealthcheckResult")),
    ],
};

const STATE: StructType = StructType {
    name: "*container.State",
    fields: &[
        ("Status", Text),
        ("Running", Bool),
        ("Paused", Bool),
        ("Restarting", Bool),
        ("OOMKilled", Bool),
        ("Dead", Bool),
        ("Pid", Int),
        ("ExitCode", Int),
        ("Error", Text),
        ("StartedAt", Text),
        ("FinishedAt", Text),
        ("Health", StructPointer(&HEALTH)),
    ],
};

const MOUNT_POINT: StructType = StructType {
    name: "container.MountPoint",
    fields: &[
        ("Type", Text),
        ("Name", Text),
        ("Source", Text),
        ("Destination", Text),
        ("Driver", Text),
        ("Mode", Text),
        ("RW", Bool),
        ("Propagation", Text),
    ],
};

const HEALTH_CONFIG: StructType = StructType {
    name: "*v1.HealthcheckConfig",
    fields: &[
        ("Test", TEXTS),
        ("Interval", Duration),
        ("Timeout", Duration),
        ("StartPeriod", Duration),
        ("StartInterval", Duration),
        ("Retries", Int),
    ],
};

const CONFIG: StructType = StructType {
    name: "*container.Config",
    fields: &[
        ("Hostname", Text),
        ("Domainname", Text),
        ("User", Text),
        ("AttachStdin", Bool),
        ("AttachStdout", Bool),
        ("AttachStderr", Bool),
        ("ExposedPorts", PORT_SET),
        ("Tty", Bool),
        ("OpenStdin", Bool),
        ("StdinOnce", Bool),
        ("Env", TEXTS),
        ("Cmd", TEXTS),
        ("Healthcheck", StructPointer(&HEALTH_CONFIG)),
        ("ArgsEscaped", Bool),
        ("Image", Text),
        ("Volumes", SET),
        ("WorkingDir", Text),
        ("Entrypoint", TEXTS),
        ("NetworkDisabled", Bool),
        ("MacAddress", Text),
        ("OnBuild", TEXTS),
        ("Labels", STRINGS),
        ("StopSignal", Text),
        ("StopTimeout", INT_POINTER),
        ("Shell", TEXTS),
    ],
};

const LOG_CONFIG: StructType =
    StructType { name: "container.LogConfig", fields: &[("Type", Text), ("Config", STRINGS)] };

const RESTART_POLICY: StructType = StructType {
    name: "container.RestartPolicy",
    fields: &[("Name", Text), ("MaximumRetryCount", Int)],
};

const HOST_CONFIG: StructType = StructType {
    name: "*container.HostConfig",
    fields: &[
        ("Binds", TEXTS),
        ("ContainerIDFile", Text),
        ("LogConfig", Struct(&LOG_CONFIG)),
        ("NetworkMode", Text),
        ("PortBindings", PORTS),
        ("RestartPolicy", Struct(&RESTART_POLICY)),
        ("AutoRemove", Bool),
        ("VolumeDriver", Text),
        ("VolumesFrom", TEXTS),
        ("ConsoleSize", ANY_LIST),
        ("Annotations", STRINGS),
        ("CapAdd", TEXTS),
        ("CapDrop", TEXTS),
        ("CgroupnsMode", Text),
        ("DNS:Dns", TEXTS),
        ("DNSOptions:DnsOptions", TEXTS),
        ("DNSSearch:DnsSearch", TEXTS),
        ("ExtraHosts", TEXTS),
        ("GroupAdd", TEXTS),
        ("IpcMode", Text),
        ("Cgroup", Text),
        ("Links", TEXTS),
        ("OomScoreAdj", Int),
        ("PidMode", Text),
        ("Privileged", Bool),
        ("PublishAllPorts", Bool),
        ("ReadonlyRootfs", Bool),
        ("SecurityOpt", TEXTS),
        ("StorageOpt", STRINGS),
        ("Tmpfs", STRINGS),
        ("UTSMode", Text),
        ("UsernsMode", Text),
        ("ShmSize", Int),
        ("Sysctls", STRINGS),
        ("Runtime", Text),
        ("Isolation", Text),
        ("CPUShares:CpuShares", Int),
        ("Memory", Int),
        ("NanoCPUs:NanoCpus", Int),
        ("CgroupParent", Text),
        ("BlkioWeight", Int),
        ("BlkioWeightDevice", ANY_LIST),
        ("BlkioDeviceReadBps", ANY_LIST),
        ("BlkioDeviceWriteBps", ANY_LIST),
        ("BlkioDeviceReadIOps", ANY_LIST),
        ("BlkioDeviceWriteIOps", ANY_LIST),
        ("CPUPeriod:CpuPeriod", Int),
        ("CPUQuota:CpuQuota", Int),
        ("CPURealtimePeriod:CpuRealtimePeriod", Int),
        ("CPURealtimeRuntime:CpuRealtimeRuntime", Int),
        ("CpusetCpus", Text),
        ("CpusetMems", Text),
        ("Devices", ANY_LIST),
        ("DeviceCgroupRules", TEXTS),
        ("DeviceRequests", ANY_LIST),
        ("KernelMemory", Int),
        ("KernelMemoryTCP", Int),
        ("MemoryReservation", Int),
        ("MemorySwap", Int),
        ("MemorySwappiness", INT_POINTER),
        ("OomKillDisable", BOOL_POINTER),
        ("PidsLimit", INT_POINTER),
        ("Ulimits", ANY_LIST),
        ("CPUCount:CpuCount", Int),
        ("CPUPercent:CpuPercent", Int),
        ("IOMaximumIOps", Int),
        ("IOMaximumBandwidth", Int),
        ("Mounts", ANY_LIST),
        ("MaskedPaths", TEXTS),
        ("ReadonlyPaths", TEXTS),
        ("Init", BOOL_POINTER),
    ],
};

const DRIVER_DATA: StructType =
    StructType { name: "storage.DriverData", fields: &[("Data", STRINGS), ("Name", Text)] };

const ENDPOINT: StructType = StructType {
    name: "*network.EndpointSettings",
    fields: &[
        ("IPAMConfig", Any),
        ("Links", TEXTS),
        ("Aliases", TEXTS),
        ("MacAddress", Text),
        ("DriverOpts", STRINGS),
        ("GwPriority", Int),
        ("NetworkID", Text),
        ("EndpointID", Text),
        ("Gateway", Text),
        ("IPAddress", Text),
        ("IPPrefixLen", Int),
        ("IPv6Gateway", Text),
        ("GlobalIPv6Address", Text),
        ("GlobalIPv6PrefixLen", Int),
        ("DNSNames", TEXTS),
    ],
};

const NETWORK_SETTINGS: StructType = StructType {
    name: "*container.NetworkSettings",
    fields: &[
        ("Bridge", Text),
        ("SandboxID", Text),
        ("SandboxKey", Text),
        ("Ports", PORTS),
        ("HairpinMode", Bool),
        ("LinkLocalIPv6Address", Text),
        ("LinkLocalIPv6PrefixLen", Int),
        ("SecondaryIPAddresses", ANY_LIST),
        ("SecondaryIPv6Addresses", ANY_LIST),
        ("EndpointID", Text),
        ("Gateway", Text),
        ("GlobalIPv6Address", Text),
        ("GlobalIPv6PrefixLen", Int),
        ("IPAddress", Text),
        ("IPPrefixLen", Int),
        ("IPv6Gateway", Text),
        ("MacAddress", Text),
        (
            "Networks",
            Type::Map(&StructPointer(&ENDPOINT), "map[string]*network.EndpointSettings", None),
        ),
    ],
};

/// A container.
pub(crate) const CONTAINER: StructType = StructType {
    name: "container.InspectResponse",
    fields: &[
        ("ID:Id", Text),
        ("Created", Text),
        ("Path", Text),
        ("Args", TEXTS),
        ("State", StructPointer(&STATE)),
        ("Image", Text),
        ("ResolvConfPath", Text),
        ("HostnamePath", Text),
        ("HostsPath", Text),
        ("LogPath", Text),
        ("Name", Text),
        ("RestartCount", Int),
        ("Driver", Text),
        ("Platform", Text),
        ("MountLabel", Text),
        ("ProcessLabel", Text),
        ("AppArmorProfile", Text),
        ("ExecIDs", TEXTS),
        ("HostConfig", StructPointer(&HOST_CONFIG)),
        ("GraphDriver", Struct(&DRIVER_DATA)),
        ("SizeRw", INT_POINTER),
        ("SizeRootFs", INT_POINTER),
        ("Mounts", Type::List(&Struct(&MOUNT_POINT), "[]container.MountPoint")),
        ("Config", StructPointer(&CONFIG)),
        ("NetworkSettings", StructPointer(&NETWORK_SETTINGS)),
    ],
};

const IMAGE_CONFIG: StructType = StructType {
    name: "*dockerspec.DockerOCIImageConfig",
    fields: &[
        ("User", Text),
        ("ExposedPorts", SET),
        ("Env", TEXTS),
        ("Entrypoint", TEXTS),
        ("Cmd", TEXTS),
        ("Volumes", SET),
        ("WorkingDir", Text),
        ("Labels", STRINGS),
        ("StopSignal", Text),
        ("ArgsEscaped", Bool),
        ("Healthcheck", StructPointer(&HEALTH_CONFIG)),
        ("OnBuild", TEXTS),
        ("Shell", TEXTS),
        // No longer part of Docker's type, but of what images of every age hold.
        ("Hostname", Text),
        ("Domainname", Text),
        ("Image", Text),
        ("Tty", Bool),
        ("OpenStdin", Bool),
    ],
};

const ROOT_FS: StructType =
    StructType { name: "image.RootFS", fields: &[("Type", Text), ("Layers", TEXTS)] };

/// An image.
pub(crate) const IMAGE: StructType = StructType {
    name: "image.InspectResponse",
    fields: &[
        ("ID:Id", Text),
        ("RepoTags", TEXTS),
        ("RepoDigests", TEXTS),
        ("Parent", Text),
        ("Comment", Text),
        ("Created", Text),
        ("DockerVersion", Text),
        ("Author", Text),
        ("Config", StructPointer(&IMAGE_CONFIG)),
        ("Architecture", Text),
        ("Variant", Text),
        ("Os", Text),
        ("OsVersion", Text),
        ("Size", Int),
        ("VirtualSize", Int),
        ("GraphDriver", Struct(&DRIVER_DATA)),
        ("RootFS", Struct(&ROOT_FS)),
        ("Metadata", GUESSES),
    ],
};

const USAGE: StructType =
    StructType { name: "*volume.UsageData", fields: &[("RefCount", Int), ("Size", Int)] };

/// A volume.
pub(crate) const VOLUME: StructType = StructType {
    name: "volume.Volume",
    fields: &[
        ("ClusterVolume", Any),
        ("CreatedAt", Text),
        ("Driver", Text),
        ("Labels", STRINGS),
        ("Mountpoint", Text),
        ("Name", Text),
        ("Options", STRINGS),
        ("Scope", Text),
        ("Status", GUESSES),
        ("UsageData", StructPointer(&USAGE)),
    ],
};

const IPAM_CONFIG: StructType = StructType {
    name: "network.IPAMConfig",
    fields: &[
        ("Subnet", Text),
        ("IPRange", Text),
        ("Gateway", Text),
        ("AuxAddress:AuxiliaryAddresses", STRINGS),
    ],
};

const IPAM: StructType = StructType {
    name: "network.IPAM",
    fields: &[
        ("Driver", Text),
        ("Options", STRINGS),
        ("Config", Type::List(&Struct(&IPAM_CONFIG), "[]network.IPAMConfig")),
    ],
};

const CONFIG_FROM: StructType =
    StructType { name: "network.ConfigReference", fields: &[("Network", Text)] };

const NETWORK_MEMBER: StructType = StructType {
    name: "network.EndpointResource",
    fields: &[
        ("Name", Text),
        ("EndpointID", Text),
        ("MacAddress", Text),
        ("IPv4Address", Text),
        ("IPv6Address", Text),
    ],
};

/// A network.
pub(crate) const NETWORK: StructType = StructType {
    name: "network.Inspect",
    fields: &[
        ("Name", Text),
        ("ID:Id", Text),
        ("Created", Text),
        ("Scope", Text),
        ("Driver", Text),
        ("EnableIPv4", Bool),
        ("EnableIPv6", Bool),
        ("IPAM", Struct(&IPAM)),
        ("Internal", Bool),
        ("Attachable", Bool),
        ("Ingress", Bool),
        ("ConfigFrom", Struct(&CONFIG_FROM)),
        ("ConfigOnly", Bool),
        (
            "Containers",
            Type::Map(&Struct(&NETWORK_MEMBER), "map[string]network.EndpointResource", None),
        ),
        ("Options", STRINGS),
        ("Labels", STRINGS),
        ("Peers", ANY_LIST),
        ("Services", GUESSES),
    ],
};

const ACTOR: StructType =
    StructType { name: "events.Actor", fields: &[("ID", Text), ("Attributes", STRINGS)] };

/// An event.
pub(crate) const EVENT: StructType = StructType {
    name: "events.Message",
    fields: &[
        ("Status:status", Text),
        ("ID:id", Text),
        ("From:from", Text),
        ("Type", Text),
        ("Action", Text),
        ("Actor", Struct(&ACTOR)),
        ("Scope:scope", Text),
        ("Time:time", Int),
        ("TimeNano:timeNano", Int),
    ],
};

/// Whether a field of an unknown document holds a map.
pub(crate) fn is_map(field: &str) -> bool {
    matches!(
        field,
        "Annotations"
            | "Attributes"
            | "Labels"
            | "Networks"
            | "Options"
            | "Ports"
            | "Runtimes"
            | "Details"
            | "DriverOpts"
            | "Sysctls"
            | "Tmpfs"
            | "Volumes"
            | "Data"
            | "checked"
    )
}

/// Whether `null` in a field of an unknown document is a nil slice.
pub(crate) fn is_list(field: &str) -> bool {
    matches!(
        field,
        "Containers"
            | "Images"
            | "Layers"
            | "Mounts"
            | "RepoTags"
            | "RepoDigests"
            | "Warnings"
            | "SecurityOptions"
            | "DriverStatus"
            | "Args"
            | "Env"
            | "Cmd"
    )
}
