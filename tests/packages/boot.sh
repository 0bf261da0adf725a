# shellcheck shell=bash disable=SC2016,SC2154
# The packages inside fresh systems: the RPM's files and scriptlets in a root of its own; the Debian package in a Debian
# booted with systemd, see inside.
BOOT_SECONDS=${BOOT_SECONDS:-900}
BASE_PACKAGES=systemd,systemd-sysv,dbus,apparmor,openssl,redis-server,redis-tools,procps,rpm,sqlite3,zstd
root=$work/root

# A base with everything downloaded that the package depends on: the systems get no network.
make_base() {
    mmdebstrap --quiet --variant=minbase --include="$BASE_PACKAGES" \
        --customize-hook="chroot \$1 apt-get clean && cp '$DEB' \$1/bascule.deb" \
        --customize-hook='chroot $1 apt-get -o APT::Install-Recommends=true install -q -y --download-only /bascule.deb' \
        --customize-hook='rm $1/bascule.deb' \
        --skip=cleanup/apt bookworm "$1.tar.zst" && mv "$1.tar.zst" "$1"
}
base() {
    local key
    key=$(hash_of "$BASE_PACKAGES" "$(dpkg-deb -f "$(echo "$BUILD"/packages/bascule_*_*.deb)" Depends)")
    cached "bookworm-$key.tar.zst" bash -c "BASE_PACKAGES=$BASE_PACKAGES DEB=$(echo "$PWD/$BUILD"/packages/bascule_*_*.deb)
        $(declare -f make_base); make_base \$0"
}
unpack() {
    mkdir -p "$1" && tar -C "$1" --zstd --numeric-owner -xpf "$(base)"
}
# systemd-update-helper is Fedora's own: one that notes what it is asked stands in for it.
rpm_root() {
    unpack "$work/rpmroot" || return 1
    printf '#!/bin/sh\necho "$@" >>/helper\n' >"$work/rpmroot/usr/lib/systemd/systemd-update-helper"
    chmod 755 "$work/rpmroot/usr/lib/systemd/systemd-update-helper"
}
in_root() { rpm --root "$work/rpmroot" --nodeps "$@"; }
rpm_installs() { in_root -i "$(rpm_file)" && in_root -V bascule; }
rpm_modes() {
    [[ $(chroot "$work/rpmroot" stat -c '%U %G %a %n' /etc/bascule/bascule.yaml /var/lib/bascule /usr/bin/bascule) == \
        "root bascule 640 /etc/bascule/bascule.yaml
bascule bascule 750 /var/lib/bascule
root root 755 /usr/bin/bascule" ]] && chroot "$work/rpmroot" getent passwd bascule | grep '/var/lib/bascule:/sbin/nologin$'
}
helper_was_asked() { diff - "$work/rpmroot/helper" <<<"$1"; }
rpm_keeps_what_was_edited() {
    echo "# mine" >>"$work/rpmroot/etc/bascule/bascule.yaml"
    in_root -U --force "$(rpm_file)" && grep '^# mine' "$work/rpmroot/etc/bascule/bascule.yaml"
}
rpm_keeps_the_log() {
    echo log >"$work/rpmroot/var/lib/bascule/bascule.db"
    in_root -e bascule && [[ ! -e $work/rpmroot/usr/bin/bascule && -s $work/rpmroot/var/lib/bascule/bascule.db ]]
}

# The same package under another version.
package_as() {
    rm -rf "$work/next"
    dpkg-deb -R "$BUILD"/packages/bascule_*_*.deb "$work/next" &&
        sed -i "s/^Version: .*/Version: $1/" "$work/next/DEBIAN/control" &&
        dpkg-deb -b -Znone "$work/next" "$root/check/$2"
}
make_root() {
    unpack "$root" && mkdir "$root/check" &&
        cp tests/packages/inside tests/stores/version-1.db.zst "$root/check/" &&
        cp "$BUILD"/packages/bascule_*_*.deb "$root/check/bascule.deb" &&
        package_as 9.9.9 bascule-next.deb && systemctl --root="$root" disable redis-server || return 1
    cat >"$root/etc/systemd/system/check.service" <<UNIT
[Unit]
After=multi-user.target
[Service]
Type=oneshot
ExecStart=/check/inside
TimeoutStartSec=infinity
[Install]
WantedBy=default.target
UNIT
    systemctl --root="$root" enable check.service
}
boot() {
    timeout --kill-after=20 "$BOOT_SECONDS" systemd-nspawn -q -D "$root" --boot --private-network --register=no \
        --keep-unit --console=pipe --machine="bascule-check-$$" </dev/null
}
take_results() {
    local line
    if [[ -e $root/check/results ]]; then
        passed=$((passed + $(grep -c '^ok ' "$root/check/results")))
        while read -r line; do bad "${line#FAIL }"; done < <(grep '^FAIL ' "$root/check/results")
    fi
    if ! grep -qs '^the end' "$root/check/results"; then
        bad "the booted system did not get to the end"
        tail -n 30 "$work/console"
    fi
    if [[ $failed -gt 0 && -e $root/check/log ]]; then
        tail -n 60 "$root/check/log"
        tail -n 40 "$root/check/journal" 2>/dev/null
    fi
}

if [[ $EUID -ne 0 ]]; then
    skip "fresh systems: only root can make them"
elif ! base >"$work/said" 2>&1; then
    if fetchable; then
        bad "a fresh system cannot be made"
        tail -n 20 "$work/said"
    else
        skip "fresh systems: deb.debian.org does not answer"
    fi
else
    if [[ -e $(rpm_file) ]] && expect a_root_for_the_rpm rpm_root; then
        expect the_rpm_installs_whole rpm_installs
        expect its_modes_and_user_are_right rpm_modes
        expect installing_asks_systemd_for_its_preset helper_was_asked "install-system-units bascule.service"
        expect an_rpm_upgrade_keeps_what_was_edited rpm_keeps_what_was_edited
        expect erasing_keeps_the_log rpm_keeps_the_log
        expect erasing_asks_systemd_to_stop_it grep -qx 'remove-system-units bascule.service' "$work/rpmroot/helper"
    fi
    if expect a_fresh_debian_is_made make_root; then
        if boots "$root" >"$work/said" 2>&1; then
            boot >"$work/console" 2>&1
            take_results
        else
            skip "a booted Debian: systemd-nspawn does not work here: $(tail -n 1 "$work/said")"
        fi
    fi
fi
