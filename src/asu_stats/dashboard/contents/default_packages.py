"""Packages that images of OpenWrt for routers contain by default, in one release or another.

Clients send the complete list of an image, so these lead every ranking. They are those of
`DEFAULT_PACKAGES` in OpenWrt's `include/target.mk`, those of the release images, and those of most
devices. Drivers of some devices are not among them.
"""

from typing import Final

DEFAULT_PACKAGES: Final = frozenset(
    {
        "apk-mbedtls",
        "base-files",
        "busybox",
        "ca-bundle",
        "dnsmasq",
        "dropbear",
        "firewall",
        "firewall4",
        "fstools",
        "ip6tables",
        "iptables",
        "kmod-gpio-button-hotplug",
        "kmod-ipt-offload",
        "kmod-leds-gpio",
        "kmod-nft-offload",
        "libc",
        "libgcc",
        "libustream-mbedtls",
        "libustream-wolfssl",
        "logd",
        "luci",
        "luci-app-attendedsysupgrade",
        "mtd",
        "netifd",
        "nftables",
        "odhcp6c",
        "odhcpd-ipv6only",
        "openwrt-keyring",
        "opkg",
        "ppp",
        "ppp-mod-pppoe",
        "procd",
        "procd-seccomp",
        "procd-ujail",
        "uboot-envtools",
        "uci",
        "uclient-fetch",
        "urandom-seed",
        "urngd",
        "wpad-basic-mbedtls",
        "wpad-basic-wolfssl",
        "wpad-mini",
    }
)
