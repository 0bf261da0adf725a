# shellcheck shell=bash disable=SC2154
# The RPM package for Enterprise Linux 9. Debian 11 has the same SQLite and libmicrohttpd as that and a librabbitmq just
# older: what links and runs with those does there. librdkafka is within the program.
rpm_lint() {
    local said
    said=$(rpmlint -c packaging/rpm/rpmlint.toml packaging/rpm/bascule.spec "$(rpm_file)" 2>&1)
    echo "$said"
    grep -q ' 0 errors, 0 warnings' <<<"$said"
}
# provided CAPABILITY: the target's list has it. A "*" there stands for anything but what glibc 2.34 lacks.
provided() {
    local pattern rest
    while read -r pattern rest; do
        case $pattern in
        '' | '#'*) ;;
        'libc.so.6(*)(64bit)' | 'libm.so.6(*)(64bit)')
            [[ $1 =~ ^${pattern%%.*}\.so\.6\((GLIBC_([0-9.]+))?\)\(64bit\)$ ]] || continue
            [[ $(printf '%s\n' "${BASH_REMATCH[2]:-0}" 2.34 | sort -V | tail -n 1) == 2.34 ]] && return 0
            ;;
        'rpmlib(*)') [[ $1 == rpmlib\(* ]] && return 0 ;;
        *) [[ $1 == "$pattern" ]] && return 0 ;;
        esac
    done <packaging/rpm/el9.provides
    echo "not in packaging/rpm/el9.provides: $1"
    return 1
}
requires_of_the_target() {
    local capability rest missing=0 n=0
    while read -r capability rest; do
        n=$((n + 1))
        provided "$capability" || missing=1
    done < <(rpm -qp --requires "$(rpm_file)")
    [[ $n -gt 20 && $missing -eq 0 ]]
}
a_newer_glibc_is_refused() {
    provided 'libc.so.6(GLIBC_2.34)(64bit)' && ! provided 'libc.so.6(GLIBC_2.35)(64bit)' &&
        ! provided 'libcurl.so.4(CURL_OPENSSL_4)(64bit)'
}
# The packages of the target that its list names for what the program requires.
rpm_bill_of_materials() {
    local -a packages
    mapfile -t packages < <(grep -F -f <(rpm -qp --requires "$(rpm_file)" | grep -oE '^lib[^(]+\(') packaging/rpm/el9.provides |
        awk '{ print $2 }' | sort -u)
    rpm2cpio "$(rpm_file)" | cpio -i --quiet --to-stdout ./usr/share/bascule/bascule.spdx.json >"$work/sbom" &&
        [[ ${#packages[@]} -gt 8 ]] && tests/packages/sbom.py "$work/sbom" hiredis librdkafka libnats "${packages[@]}"
}

OLD_PACKAGES=libsqlite3-0,librdkafka1,libmicrohttpd12,librabbitmq4,libsqlite3-dev,librdkafka-dev,libmicrohttpd-dev
make_old() { mmdebstrap --quiet --variant=extract --include="$OLD_PACKAGES" bullseye "$1.tar" http://deb.debian.org/debian && mv "$1.tar" "$1"; }
unpack_old() {
    local archive multiarch name
    archive=$(cached "old-$(hash_of "$OLD_PACKAGES").tar" bash -c "OLD_PACKAGES=$OLD_PACKAGES; $(declare -f make_old); make_old \$0") || return 1
    multiarch=$(gcc -print-multiarch)
    mkdir -p "$work/old/all" "$work/old/lib" "$work/old/include" "$work/rpm"
    tar -C "$work/old/all" -xf "$archive" ./usr/include "./usr/lib/$multiarch" || return 1
    for name in librdkafka.so.1 libsqlite3.so.0 libmicrohttpd.so.12 librabbitmq.so.4 libssl.so.1.1 libcrypto.so.1.1; do
        cp -L "$work/old/all/usr/lib/$multiarch/$name" "$work/old/lib/" || return 1
    done
    # Another number of the same library.
    ln -s "/usr/lib/$multiarch/libsasl2.so.2" "$work/old/lib/libsasl2.so.3" || return 1
    (cd "$work/old/all/usr/include" && cp -r librdkafka sqlite3*.h microhttpd.h "$work/old/include/") || return 1
    rpm2cpio "$(rpm_file)" | (cd "$work/rpm" && cpio -idm --quiet)
}
functions_are_there() {
    local missing
    missing=$(nm -D --undefined-only "$work/rpm/usr/bin/bascule" |
        sed -n -E 's/.* U ((sqlite3|MHD|amqp)_[A-Za-z0-9_]*).*/\1/p' | sort -u |
        comm -23 - <(nm -D --defined-only "$work"/old/lib/*.so.* | sed -n -E 's/.* [TDBR] ([A-Za-z0-9_]*).*/\1/p' | sort -u))
    echo "missing: $missing"
    [[ -z $missing ]]
}
compiles_with_old_headers() {
    local file
    for file in bridge/links/kafka/*.c bridge/admin/*.c store/*.c; do
        gcc -std=gnu11 -fsyntax-only -Wall -Wextra -Werror -I"$work/old/include" -I. -D_GNU_SOURCE \
            -DBASCULE_VERSION='"0"' -Wno-error=deprecated-declarations "$file" || return 1
    done
}
with_old() { LD_LIBRARY_PATH=$work/old/lib:$work/rpm/usr/lib64/bascule "$@"; }
examples_are_accepted() {
    local example
    for example in routes/examples/*.yaml; do with_old "$work/rpm/usr/bin/bascule" check "$example" || return 1; done
}
# The tests call the sqlite3 command, which wants its own library.
its_librdkafka_is_its_own() {
    ! nm -D --undefined-only "$work/rpm/usr/bin/bascule" | grep rd_kafka_ &&
        with_old "$work/rpm/usr/bin/bascule" version --json | tee /dev/stderr | grep -q .
}
store_works_with_its_sqlite() {
    mkdir -p "$work/bin" "$work/old/sqlite"
    cp "$work/old/lib/libsqlite3.so.0" "$work/old/sqlite/"
    printf '#!/bin/sh\nunset LD_LIBRARY_PATH\nexec %s "$@"\n' "$(command -v sqlite3)" >"$work/bin/sqlite3"
    chmod 755 "$work/bin/sqlite3"
    LD_LIBRARY_PATH=$work/old/sqlite ldd "$BUILD/tests/unit.bin" | grep "$work/old/sqlite" &&
        PATH=$work/bin:$PATH LD_LIBRARY_PATH=$work/old/sqlite timeout 300 "$BUILD/tests/unit.bin" test_store
}

expect the_rpm_builds packaging/build-rpm "$BUILD/packages" && {
    expect rpmlint_has_no_complaint rpm_lint
    expect it_requires_only_what_enterprise_linux_has requires_of_the_target
    expect what_is_newer_than_its_list_is_refused a_newer_glibc_is_refused
    expect its_bill_of_materials_names_the_targets_packages rpm_bill_of_materials
    if ! fetchable && [[ ! -e $CACHE/old-$(hash_of "$OLD_PACKAGES").tar ]]; then
        skip "libraries as old as Enterprise Linux 9's: deb.debian.org does not answer"
    elif expect libraries_as_old_as_its_are_unpacked unpack_old; then
        expect every_function_is_in_its_libraries functions_are_there
        expect the_code_compiles_with_its_headers compiles_with_old_headers
        expect its_librdkafka_is_within_the_program its_librdkafka_is_its_own
        expect the_program_accepts_all_examples_with_its_libraries examples_are_accepted
        expect the_store_works_with_its_sqlite store_works_with_its_sqlite
    fi
}
