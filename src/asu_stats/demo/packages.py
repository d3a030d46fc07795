"""Packages that users add to images: real names, in sets that belong together."""

import random
from typing import Final

from asu_stats.demo.world import branch_key

# Default packages of a device; clients that send `diff_packages` list them too.
_DEFAULTS: Final = (
    *("base-files", "ca-bundle", "dnsmasq", "dropbear", "fstools", "kmod-gpio-button-hotplug"),
    *("kmod-nft-offload", "libc", "libgcc", "logd", "mtd", "netifd", "odhcp6c"),
    *("odhcpd-ipv6only", "ppp", "ppp-mod-pppoe", "procd-ujail", "uci", "uclient-fetch"),
    *("urandom-seed", "urngd"),
)
_DEFAULTS_OF_TARGET: Final = {
    "ath79/generic": ("kmod-ath9k", "kmod-usb2", "uboot-envtools"),
    "ath79/nand": ("kmod-ath9k", "kmod-usb2", "uboot-envtools"),
    "ipq40xx/generic": ("ath10k-firmware-qca4019-ct", "kmod-ath10k-ct", "uboot-envtools"),
    "mediatek/filogic": ("fitblk", "kmod-crypto-hw-safexcel", "kmod-mt7915e", "mt7986-wo-firmware"),
    "mediatek/mt7622": ("fitblk", "kmod-mt7615e", "kmod-mt7915e", "uboot-envtools"),
    "mvebu/cortexa9": ("kmod-mwlwifi", "mwlwifi-firmware-88w8864", "uboot-envtools"),
    "qualcommax/ipq807x": ("ath11k-firmware-ipq8074", "kmod-ath11k-ahb", "uboot-envtools"),
    "ramips/mt7621": ("kmod-crypto-hw-eip93", "kmod-mt7603", "kmod-mt76x2", "uboot-envtools"),
    "x86/64": (
        "grub2-bios-setup",
        "kmod-e1000e",
        "kmod-igc",
        "kmod-r8169",
        "mkf2fs",
        "partx-utils",
    ),
}

# Sets that belong together, and how common each is.
SETS: Final[tuple[tuple[int, tuple[str, ...]], ...]] = (
    (170, ("luci-ssl",)),
    (120, ("luci-app-sqm", "sqm-scripts")),
    (110, ("luci-proto-wireguard", "qrencode", "wireguard-tools")),
    (60, ("luci-app-wireguard", "wireguard-tools")),
    (90, ("adblock", "luci-app-adblock", "tcpdump-mini")),
    (80, ("tailscale",)),
    (80, ("luci-app-statistics", "collectd-mod-thermal", "collectd-mod-wireless")),
    (70, ("block-mount", "kmod-fs-ext4", "kmod-usb-storage", "kmod-usb-storage-uas")),
    (55, ("banip", "luci-app-banip")),
    (50, ("ddns-scripts", "luci-app-ddns")),
    (45, ("luci-app-samba4", "samba4-server", "wsdd2")),
    (45, ("https-dns-proxy", "luci-app-https-dns-proxy")),
    (40, ("luci-app-openvpn", "openvpn-openssl")),
    (35, ("luci-app-upnp", "miniupnpd-nftables")),
    (35, ("kmod-batman-adv", "batctl-default", "luci-proto-batman-adv")),
    (30, ("luci-app-pbr", "pbr")),
    (30, ("luci-proto-modemmanager", "modemmanager", "kmod-usb-net-qmi-wwan")),
    (25, ("luci-app-nlbwmon", "nlbwmon")),
    (20, ("prometheus-node-exporter-lua", "prometheus-node-exporter-lua-openwrt")),
    (20, ("dawn", "luci-app-dawn")),
)
_SET_WEIGHTS: Final = [weight for weight, _ in SETS]
_HOW_MANY_SETS: Final = (34, 38, 18, 10)

EXTRAS: Final = (
    *("auc", "bash", "bind-dig", "bridger", "coreutils-sort", "curl", "diffutils", "ethtool"),
    *("etherwake", "file", "fping", "git", "htop", "iftop", "iperf3", "ip-full", "irqbalance"),
    *("jq", "kmod-tcp-bbr", "less", "lldpd", "lm-sensors", "losetup", "lsblk", "luci-app-acme"),
    *("luci-app-commands", "luci-app-firewall", "luci-app-mwan3", "luci-app-opkg"),
    *("luci-app-travelmate", "luci-app-watchcat", "luci-i18n-base-de", "luci-i18n-base-fr"),
    *("luci-i18n-base-pl", "luci-i18n-base-ru", "luci-i18n-base-zh-cn", "luci-theme-material"),
    *("luci-theme-openwrt-2020", "mc", "mosquitto-client-ssl", "mtr-nojson", "nano", "nmap"),
    *("openssh-sftp-server", "parted", "pciutils", "python3-light", "resize2fs", "rsync", "screen"),
    *(
        "snmpd",
        "socat",
        "tcpdump",
        "tmux",
        "unbound-daemon",
        "usbutils",
        "usteer",
        "vim",
        "vnstat2",
    ),
    *("wget-ssl", "wpad-mesh-mbedtls", "zerotier", "zram-swap"),
)
UPGRADER: Final = "luci-app-attendedsysupgrade"


def choose(
    chance: random.Random, *, branch: str, target: str, whole: bool, upgrader: float, extra: float
) -> tuple[str, ...]:
    """Return the packages of one image.

    With `whole` all packages of the image are listed, else only the additional ones. `upgrader` is
    the probability of the upgrade app, `extra` that of packages besides the usual sets.
    """
    names = ["luci"]
    if whole:
        names += _defaults(branch, target)
    if chance.random() < upgrader:
        names.append(UPGRADER)
    for _ in range(chance.choices(range(4), _HOW_MANY_SETS)[0]):
        names += chance.choices(SETS, _SET_WEIGHTS)[0][1]
    if chance.random() < extra:
        names += chance.sample(EXTRAS, chance.randint(1, 5))
    return tuple(dict.fromkeys(names))


def _defaults(branch: str, target: str) -> list[str]:
    key = branch_key(branch)
    names = [*_DEFAULTS, *_DEFAULTS_OF_TARGET.get(target, ())]
    names.append("firewall4" if key >= branch_key("22.03") else "firewall")
    names.append("apk-mbedtls" if key >= branch_key("25.12") else "opkg")
    tls = "mbedtls" if key >= branch_key("23.05") else "wolfssl"
    return [*names, f"libustream-{tls}", f"wpad-basic-{tls}"]
