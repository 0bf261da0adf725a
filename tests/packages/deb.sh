# shellcheck shell=bash disable=SC2154
# The Debian package: built twice, read by lintian; manual pages and the unit beside it.
built() { packaging/build-deb "$BUILD/packages"; }
# Another folder, time zone and umask, the same bytes.
reproducible() {
    local copy=$work/elsewhere/a/longer/path
    mkdir -p "$copy"
    tar --exclude=./build --exclude=./.git -cf - . | tar -C "$copy" -xf -
    (umask 077 && cd "$copy" && TZ=Asia/Tokyo LC_ALL=C.UTF-8 packaging/build-deb "$work/again") || return 1
    cmp "$BUILD"/packages/bascule_*.deb "$work"/again/bascule_*.deb
}
lint() {
    local tags
    tags=$(lintian --tag-display-limit 0 "$BUILD"/packages/bascule_*.changes 2>&1 | grep -E '^[EW]:')
    echo "$tags"
    [[ -z $tags ]]
}
pages() {
    local page
    for page in "$BUILD"/manual/*.[1-9]; do
        [[ -z $(mandoc -T lint -W warning "$page" | tee -a /dev/stderr) ]] || return 1
    done
}
# What dpkg found by itself that the program depends on must be in it too.
bill_of_materials() {
    local -a depends
    mapfile -t depends < <(dpkg-deb -f "$BUILD"/packages/bascule_*_*.deb Depends | tr ',|' '\n' |
        sed -E 's/^ *([^ (]+).*/\1/' | grep '^lib')
    dpkg-deb --fsys-tarfile "$BUILD"/packages/bascule_*_*.deb | tar -xO ./usr/share/bascule/bascule.spdx.json >"$work/sbom" &&
        [[ ${#depends[@]} -gt 8 ]] && tests/packages/sbom.py "$work/sbom" "${depends[@]}"
}

expect the_package_builds built
expect it_is_reproducible reproducible
expect lintian_has_no_complaint lint
expect manual_pages_have_no_warning pages
expect exposure_is_low systemd-analyze security --offline=yes --threshold=13 packaging/systemd/bascule.service
expect its_bill_of_materials_is_whole bill_of_materials
