"""Rules that derive the error type from a text: data only, in order of precedence.

Phrases are separated by `|`, in lower case, with ASCII quotes, and searched within one line.
`...` matches any text in between, `^` anchors a phrase at the start of a message (the line, or
after `: `, a quote or a bracket), `$` at the end of the line, `=` matches a whole line. Phrases
are short on purpose: the constant part of a message of a tool, not one instance of it.
"""

from typing import NamedTuple


class Rule(NamedTuple):
    """The error has this `type` if a line contains one of `phrases`.

    If given, one of `near` must be on the same line, and one of `where` anywhere in the text.
    """

    type: str
    phrases: tuple[str, ...]
    near: tuple[str, ...] = ()
    where: tuple[str, ...] = ()


def _rule(error_type: str, phrases: str, *, near: str = "", where: str = "") -> Rule:
    return Rule(error_type, _split(phrases), _split(near), _split(where))


def _split(phrases: str) -> tuple[str, ...]:
    return tuple(filter(None, (" ".join(phrase.split()) for phrase in phrases.split("|"))))


# Failures that any tool can report.
_UNREACHABLE = """
    connection refused | connection reset | connection aborted | connection timed out
    | connection closed | connection was closed | connection error | closed connection
    | connecterror | connecttimeout | connectionerror | connect timeout | connect call failed
    | could not connect | couldn't connect | cannot connect | can't connect | failed to connect
    | unable to connect | unable to make connection | timeout connecting | error connecting
    | could not resolve | couldn't resolve | cannot resolve | unable to resolve | failed to resolve
    | name or service not known | name resolution | name does not resolve | no such host
    | no address associated | nodename nor servname | host not found | server misbehaving
    | no route to host | unreachable | not reachable | could not reach | cannot reach
    | network unreachable | host is down | timed out | timeout reading | timeout writing
    | read timeout | i/o timeout | client.timeout | timeout was reached | connection timeout
    | pool timeout | deadline exceeded | broken pipe | remote end closed | disconnected
    | while reading from | while writing to socket | bad gateway | service unavailable
    | gateway timeout | unexpected eof | : eof$ | use of closed network connection
"""
# Who was talked to.
_REDIS = """
    redis.exceptions | :6379 | redis.sock | redis-server | redis server | to redis | redis at
    | redis: | redis connection | from socket | to socket | from redis | valkey
    | ^error 1 ... connecting to | ^error - ... connecting to | ^error 2 connecting to
    | lookup redis
"""
_ENGINE = """
    podman.sock | docker.sock | containerd.sock | docker daemon | podman socket | podman service
    | to podman | docker_engine | dockerd | dial unix | to uds | unixhttpconnectionpool | /libpod/
    | http://d/v | http+docker | container engine
"""
_PULL = """
    docker:// | pulling image | pull image | pulling from registry | unable to pull
    | failed to pull | error pulling | could not pull | cannot pull | images.pull(
    | pull access denied | reading blob | writing blob | storing blob | fetching blob
    | copying blob: | blob unknown | reading manifest | determining manifest | parsing image
    | copying system image | copying image | copying layers | choosing image instance
    | initializing source | pinging container registry | pinging docker registry | bearer token
    | bear token | auth token | oauth token | anonymous token | from registry
    | registry-1.docker.io | /manifests/ | /blobs/ | manifest media type | unsupported manifest
    | unsupported schema | supported image formats | source image | toomanyrequests
    | pull rate limit | get "http ... /v2/ | head "http ... /v2/ | failed to register layer
    | layer verification | adding layer with blob | no matching manifest | no image found in
    | short-name | unqualified-search registries | resolve reference | invalid reference format
    | requested access to the resource is denied | unauthorized: authentication required
    | while pulling | parsing http ... response body
"""
_UPSTREAM = """
    httpx. | httpcore. | client_get | reload_versions | reload_targets | reload_profiles
    | requests.exceptions | aiohttp. | urllib.error | urllib3. | http.client. | urlopen error
    | .versions.json | .targets.json | /profiles.json | overview.json | failed to fetch revision
    | connectionpool(host= | get "http | client error ' | server error '
"""
_HTTP_ERRORS = """
    error 400 | error 401 | error 403 | error 404 | error 408 | error 410 | error 416 | error 429
    | error 500: | error 502 | error 503 | error 504 | http 400: | http 401: | http 403:
    | http 404: | http 408: | http 410: | http 416: | http 429: | http 500: | http 502: | http 503:
    | http 504: | http: unrecognized | http/1.1 4 | http/1.1 50 | http/2 4 | http/2 50
    | http status 4 | http status 50
"""

# How a thing fares, for texts in nobody's known words.
_TROUBLE = """
    fail | error | unable | could not | couldn't | cannot | can't | invalid | expired | unknown
    | verif | alert | mismatch | untrusted | refused | denied | rejected | closed | broken
    | did not | returned 4 | returned 5
"""
_GONE = """
    died | disappeared | vanished | lost | killed | crashed | gone | has exited
    | exited unexpectedly | was removed | terminated | not running | no longer
"""
_ABSENT = """
    not found | missing | does not exist | doesn't exist | not exist | no such | not available
    | unavailable | unknown | could not find | cannot find | can't find | is not there
    | there is no
"""
_REFUSED = """
    not allowed | not permitted | not accepted | refused | forbidden | rejected | not supported
    | unsupported | disabled | not enabled | not offered | no longer | dropped | invalid
    | allow list | allowed list | allowlist | whitelist
"""
_DAMAGED = """
    incomplete | corrupt | damaged | broken | wrong | invalid | mismatch | not match | cut off
"""

RULES: tuple[Rule, ...] = (
    # The server's own refusals quote what a client sent, which can be anything: they come first.
    _rule(
        "unsupported_target",
        """
        "body","target"] ... pattern | "body", "target"] ... pattern
        | 'body', 'target') ... pattern | "body","target"] ... regex | "body", "target"] ... regex
        """,
    ),
    _rule(
        "invalid_request",
        """
        "loc":["body" | "loc": ["body" | 'loc': ('body' | 'loc': ['body' | "loc":["query"
        | field required | validation error for | validation errors for | json decode error
        """,
    ),
    _rule(
        "repository_not_allowed",
        """
        repository not allowed | ^repositor ... not allowed | ^repositor ... allow list
        | ^repositor ... allowlist | ^repositor ... whitelist | ^repositor ... not permitted
        | ^feed ... not allowed
        """,
    ),
    _rule(
        "defaults_not_allowed",
        """
        defaults ... not enabled | defaults ... not allowed | defaults ... not permitted
        | defaults ... are disabled | defaults ... is disabled | uci-defaults ... disabled
        | uci-defaults ... not allowed | defaults ... not supported | first boot script
        | first-boot script
        """,
    ),
    _rule(
        "unsupported_version",
        """
        unsupported version: | unsupported branch | unsupported release | ^unsupported version
        | ^unknown version | ^unknown branch | ^unknown release | ^invalid version
        | ^invalid branch | ^invalid release | ^version ... not supported
        | ^version ... not available | ^version ... not found | ^version ... does not exist
        | ^release ... not supported | ^release ... not available | ^release ... not found
        | ^branch ... not supported | ^branch ... not available | ^branch ... not enabled
        | ^branch ... not found | legacy version support
        """,
    ),
    _rule(
        "unsupported_target",
        """
        unsupported target | ^unknown target | invalid target | ^target ... not supported
        | ^target ... not available | ^target ... not found | ^target ... does not exist
        | unsupported subtarget | ^unknown subtarget
        """,
    ),
    _rule("build_output_missing", "not found in json"),
    _rule(
        "unsupported_profile",
        """
        unsupported profile | ^unknown profile | invalid profile | invalid device profile
        | unsupported device | ^unknown device | unsupported board | ^unknown board
        | unsupported model | ^unknown model | board not found | ^profile ... does not exist
        | ^profile ... not supported | ^profile ... not found | ^profile ... not available
        | ^device ... not supported | ^device ... not found | no such profile
        | no such device profile
        """,
    ),
    _rule(
        "unsupported_distro",
        """
        unsupported distro | unknown distro | unsupported distribution | unknown distribution
        | invalid distro | ^distro ... not supported | ^distribution ... not supported
        """,
    ),
    _rule(
        "queue_full",
        """
        server overload | queue is full | queue full | queue is currently full | too many build
        | too many pending | too many queued | too many jobs | too many requests in
        | queue contains too many | queue limit
        """,
    ),
    # How the job itself was ended. "waitpid returned None" is the kill after the time limit.
    _rule(
        "build_timeout",
        """
        jobtimeoutexception | exceeded maximum timeout | waitpid returned none | build timed out
        | job timed out | exceeded its timeout | exceeded the time limit | time limit exceeded
        | build timeout | job timeout | sending signal term to command | build took too long
        | command ' ... timed out after
        """,
    ),
    _rule(
        "build_cancelled",
        """
        stopped by user | stoprequested | job cancel | build cancel | job was cancel
        | build was cancel | job has been cancel | build has been cancel | canceled by
        | cancelled by | aborted by user | stopped by admin | interrupted by | shut down imminent
        | shut down requested | shutdown requested | server is shutting down
        | worker is shutting down | due to shutdown | context canceled | keyboardinterrupt
        | cancellederror | signal: terminated
        """,
    ),
    _rule(
        "worker_lost",
        """
        work-horse | work horse | workhorse | waitpid returned | abandonedjob | worker lost
        | worker died | worker exited | worker was killed | worker terminated | lost worker
        | worker disappeared | worker crashed | dead worker | stuck in intermediate queue
        | no heartbeat | missed heartbeat | signal: killed | signal: segmentation | workerlost
        | ^memoryerror
        """,
    ),
    _rule("unknown", "=failed to fetch | =typeerror: failed to fetch"),
    # Redis before the engine: both can be behind a socket file.
    _rule("disk_full", "no space left", near=_REDIS),
    _rule(
        "state_store_failed",
        """
        is loading the dataset | misconf redis | noauth | wrongpass | =authentication required.
        | authenticationerror: | invalid username-password | max number of clients
        | used memory > 'maxmemory' | read only replica | read only slave | noreplicas
        | not enough good replicas | link with master is down | masterdown | cluster is down
        | clusterdown | holding the wrong kind | execabort | transaction discarded | noperm
        | no permissions to run | redis is running in protected mode | busy running a script
        | no matching script | without any password configured | no password is set
        """,
    ),
    _rule("queue_unreachable", f"{_UNREACHABLE} | no such file | connecting to", near=_REDIS),
    _rule(
        "state_store_failed", "redis.exceptions | rq.exceptions | no such job | unknown command '"
    ),
    # The container, from the engine up. All that goes wrong while an image is fetched stays there.
    _rule(
        "container_engine_down", f"{_UNREACHABLE} | no such file | permission denied", near=_ENGINE
    ),
    _rule(
        "container_engine_down",
        """
        is the docker daemon running | ('connection aborted.' | /libpod/ ... operation failed
        | podman.sock ... operation failed | fetching server api version | podman system connection
        | failed to check image existence | failed to create podman manager
        """,
    ),
    _rule(
        "container_image_missing",
        """
        image not known | image not found | manifest unknown | name unknown | no such image
        | not known to registry | manifest for ... not found | imagebuilder image ... not exist
        | not found: does not exist | resolve reference ... not found | image does not exist
        """,
    ),
    _rule("container_pull_failed", _PULL),
    _rule(
        "container_pull_failed", _UNREACHABLE, where="trying to pull | pulling from | copying blob"
    ),
    _rule("build_output_missing", "could not be found on container"),
    _rule(
        "container_lost",
        """
        no such container | no container with | container not known | container not found
        | container ... is not running | container that is not running | not running: container
        | container state improper | running containers | stopped container | no such exec session
        | no exec session with | exec died | container ... is dead | container is dead
        | container ... is paused | container ... has been removed | container ... does not exist
        | container ... no longer | container ... disappeared | container ... was killed
        | container ... is gone | container exited unexpectedly | container died
        | container is stopped | already been removed | exec session state improper
        | conmon process killed
        """,
    ),
    _rule(
        "container_setup_failed",
        """
        oci runtime | oci permission denied | oci not found | ^crun: | ^runc: | runc create
        | runc run | from conmon | conmon: | shim task | create container | creating container
        | create task for container | start container | starting container | creating volume
        | capability | capdrop | mounting storage | error mounting | overlay mount | mount config
        | bind source path | statfs | network not found | unable to find network | netavark:
        | slirp4netns failed | pasta failed | setting up network | external connectivity
        | cni plugin | plugin type= | newuidmap | newgidmap | /sys/fs/cgroup | cgroup manager
        | user namespace | namespace using | container name ... in use | name is already in use
        | executable file ... not found in $path | ^exec ... exec format error | exec user process
        | invalid mount | error creating container | could not create container
        | containers.create( | container.start(
        """,
    ),
    # S3 speaks of signatures, sizes and quotas too.
    _rule(
        "store_failed",
        """
        when calling the | failed to upload | endpoint url | locate credentials
        | partial credentials | s3uploadfailed | botocore.exceptions | boto3.exceptions
        | nosuchbucket | invalidaccesskeyid | signaturedoesnotmatch | bucket does not exist
        | invalid bucket | aws access key | s3:// | invalid endpoint | must specify a region
        | store path missing
        """,
    ),
    # The server is full, or the device is: image tools have words of their own for the latter.
    _rule("image_too_big", "disk full", where="mcopy | mmd | mkfs.fat | mformat | boot.img"),
    _rule(
        "disk_full",
        """
        no space left | quota exceeded | disk is full | disk full | enospc | edquot
        | not enough free space | not enough disk space | insufficient disk space
        | out of disk space | wrote only ... bytes
        """,
    ),
    _rule(
        "image_too_big",
        """
        is too big | too big: | are too big | too big by | partition too big | image too big
        | kernel too big | rootfs too big | out of space? | exceed device storage
        | allocate block in ext2 | allocate inode in ext2 | couldn't allocate a block | max_leb_cnt
        | due to image size | too many packages or | to many packages or
        """,
    ),
    _rule(
        "image_too_big",
        """
        too large | larger than | bigger than | exceeds | exceeded | too small | does not fit
        | doesn't fit | not enough room | not enough space | no room
        """,
        near="""
        image | kernel | rootfs | partition | firmware | filesystem | file system | squashfs
        | flash | device | sysupgrade | volume
        """,
    ),
    # A package or list that arrived badly, or not at all, beats the "cannot install" that follows.
    _rule("signature_failed", "signature check failed"),
    _rule("download_failed", "signature file download failed"),
    _rule(
        "signature_failed",
        "signature",
        near="""
        fail | bad | wrong | invalid | untrusted | not trusted | mismatch | not match | error
        | can't check | cannot | could not | unable to | not valid | no valid | missing
        """,
    ),
    _rule(
        "signature_failed",
        """
        crypto error | cryptographic | no public key | key is not trusted | untrusted key
        | unknown key
        """,
    ),
    _rule(
        "tls_failed",
        """
        certificate verify | certificate problem | certificate has expired | certificate is not
        | certificate not | certificate of ' | certificate's | self-signed certificate
        | self signed certificate | ssl certificate | server certificate | peer certificate
        | issuer certificate | certificate signed by | certificate subject | certificate file
        | certificate_verify | certificate expired | certificate chain | x509: | [ssl | sslerror
        | ssl_error | ssl routines | ssl_connect | ssl connection | ssl handshake | ssl connect
        | ssl peer | ssl error | ssl verify | ssl support not available | ssl not available
        | tls handshake | tls connection | tls packet | tls alert | tls fatal | ^tls: | : tls:
        | tls error | gnutls: | gnutls_handshake | mbedtls error | mbedtls_ssl_
        | wrong version number | handshake fail | handshake error | unknown_ca | alert unknown ca
        | wget returned 5 | wget: exited with error 5 | private key file | schannel | curl: (35)
        | curl: (51) | curl: (53) | curl: (54) | curl: (58) | curl: (59) | curl: (60) | curl: (64)
        | curl: (66) | curl: (77) | curl: (80) | curl: (82) | curl: (83) | curl: (90) | curl: (91)
        | curl: (98)
        """,
    ),
    _rule(
        "upstream_unreachable", "httpx. | httpcore. | failed to fetch revision | package changes"
    ),
    _rule("imagebuilder_failed", "syntax error: unexpected"),
    # wget's 4 and 8 are "network failure" and "the server refused": there is no file to be corrupt.
    _rule(
        "download_failed",
        "wget: exited with error 4 | wget: exited with error 8 | wget returned 4 | wget returned 8",
    ),
    _rule(
        "download_corrupt",
        """
        checksum mismatch | checksum or size | checksum did | checksum does | checksum failed
        | checksum error | checksum verif | bad checksum | wrong checksum | invalid checksum
        | match checksum | match ... checksum | sha256sum mismatch | md5sum mismatch
        | hash mismatch | size mismatch | digest mismatch | lone zero block | damaged tar
        | decoder error | data corruption | no properly formatted checksum | curl: (18)
        | curl: (61) | sha256 mismatch | hash ... not match | hash ... match failed
        | computed checksum | unexpected eof in archive | unexpected end of file
        | unexpected end of input | unexpected end of data | unexpected end of archive
        | premature end | ends unexpectedly | is corrupt | are corrupt | corrupted | corrupt file
        | corrupt input | not in gzip format | not a gzip | not in gzip | badgzipfile | lzmaerror
        | format not supported | badzipfile | not a zip file | skipping to next header
        | compressed file ended | crc error | compressed data-- | crc check failed | data integrity
        | integrity error | adb block error | adb schema error | adb header error
        | adb package format | package format error | index format error | format is invalid
        | format not recognized | unsupported format | format is obsolete | look like a tar archive
        | bad magic number | not a bzip2 file | bad archive | invalid tar | decoding error
        | decompressing | content unencoding | transfer closed with | partial file | incompleteread
        | incomplete read | truncated | cannot find zipfile | readerror
        """,
    ),
    _rule(
        "download_corrupt", ": failed$", near=".tar | .zst | .xz | .gz | .ipk | .apk | .bin | .json"
    ),
    # Databases.
    _rule(
        "state_store_failed",
        """
        database is locked | table is locked | disk i/o error | image is malformed | not a database
        | readonly database | unable to open database | sqlite_ | sqlite3. | sqlalchemy.exc
        | psycopg | asyncpg | pymysql | constraint failed | violates ... constraint
        | duplicate key value | duplicate entry | no such table | no such column
        | relation " ... does not exist | database " ... does not exist | role " ... does not exist
        | too many connections | too many clients | connection slots | deadlock | lock wait timeout
        | lock timeout | could not obtain lock | could not serialize | serialization failure
        | statement timeout | canceling statement | read-only transaction | recovery mode
        | database system is | terminating connection | password authentication failed | pg_hba
        | closed the connection unexpectedly | server has gone away | lost connection to mysql
        | port 5432 | :5432 | port 3306 | :3306 | failed to query | failed to insert
        | failed to scan | failed to open database | execute migration | run migrations
        | failed to check cache | failed to check job status | failed to check request
        | failed to check existing job | failed to check build result | failed to save request
        | failed to enqueue | failed to create build job | failed to get build re
        | failed to get job status | failed to get queue length | failed to get pending jobs
        | sql logic error
        """,
    ),
    _rule(
        "build_output_missing", "no such file ... profiles.json | profiles.json ... no such file"
    ),
    _rule(
        "upstream_unreachable", f"{_UNREACHABLE} | jsondecodeerror | {_HTTP_ERRORS}", near=_UPSTREAM
    ),
    _rule("upstream_unreachable", "jsondecodeerror | ^expecting value", where=_UPSTREAM),
    _rule(
        "upstream_unreachable",
        """
        .versions.json: | .targets.json: | requests.exceptions | aiohttp. | urllib.error
        | http.client. | json.decoder | fetch profiles | fetch targets | fetch versions
        | fetch revision | load profiles | load targets | load versions
        """,
    ),
    _rule(
        "download_failed",
        """
        failed to download | download failed | could not download | couldn't download
        | unable to download | cannot download | error downloading | download error | wget:
        | wget returned | curl: ( | uclient-fetch: | awaiting response | temporary error
        | transient error | apk update') | opkg update' | unable to fetch | failed to fetch
        | could not fetch | failed to send request | stale/unavailable | opening from cache
        | no data received | returned nothing | the peer | http2 framing | ^dns: | : dns:
        | updating http | updating and opening http | fetching http | opening http | ignoring http
        | could not find a mirror | unable to find a mirror | -r ... : input/output error
        | io error$ | redirections exceeded
        """,
    ),
    _rule("download_failed", _HTTP_ERRORS),
    # What the package managers say, or the server of what they said.
    _rule(
        "package_conflict",
        """
        already provided by | conflicts: | conflicts ( | conflicts with | conflict with
        | conflicting package | trying to overwrite | wants to install file | mutually exclusive
        | check_data_file_clashes | check_conflicts_for
        """,
    ),
    _rule("manifest_mismatch", "version not as requested | not in manifest | not in the manifest"),
    _rule("package_not_found", "no such package", where="required by: world["),
    _rule("package_unsatisfiable", "no such package", where="required by:"),
    # opkg calls a package unknown too when only something it needs is.
    _rule(
        "package_unsatisfiable",
        """
        cannot satisfy | could not satisfy | cannot find dependency | unresolved dependenc
        | unsatisfied dependenc | unmet dependenc | incompatible with the architecture
        | incompatible architecture | world dependency
        """,
    ),
    _rule(
        "package_not_found",
        """
        no such package | unknown package | unsupported package | could not find package
        | cannot find package | unable to locate package | package not found
        | ^package ... not found | selection: missing | missing package
        """,
    ),
    _rule(
        "package_unsatisfiable",
        """
        unable to select packages | breaks: | masked in: | error: uninstallable | package selection
        """,
    ),
    _rule("package_not_found", "cannot install package"),
    _rule(
        "version_mismatch",
        """
        incorrect version | inncorrect version | wrong version | imagebuilderversion
        | revision ... not match | revision mismatch | version code ... not match
        | version mismatch | unexpected revision
        """,
    ),
    _rule("imagebuilder_failed", "container exited with code"),
    _rule(
        "imagebuilder_info_invalid",
        """
        no attribute 'group | 'nonetype' object is not subscriptable | kernel_build_dir
        | dictionary update sequence | codec can't decode | failed to run 'make info'
        | multiple repeat at | nothing to repeat at
        """,
    ),
    _rule(
        "imagebuilder_info_invalid",
        "make info | default packages | current revision | current target | available profiles",
        near="no ' | not found | missing | parse | could not | unable | cannot | invalid | without",
    ),
    _rule(
        "build_output_missing",
        """
        no json file | could not find any json | built images | no images | no image was
        | images not found | no sysupgrade | no firmware | jsonmissing | could not find the file
        | could not find file
        """,
    ),
    _rule("container_setup_failed", "could not set up imagebuilder | unpack imagebuilder"),
    _rule("download_failed", _UNREACHABLE, where="make: *** | ]: ***"),
    _rule("imagebuilder_failed", "make: *** | ]: *** | : *** | *** ["),
    _rule(
        "imagebuilder_failed",
        """
        no rule to make target | recipe for target | failed to build | prerequisite check
        | build dependency | preparation failed | while building firmware | create image
        | failed to get manifest | command not found | : not found. please install | fatal error
        """,
    ),
    # Leftovers: of the container API, of files, of the request, of time.
    _rule(
        "container_setup_failed",
        "server error: ... ( | client error: ... ( | podman.errors | docker.errors",
    ),
    _rule(
        "store_failed",
        """
        shutil. | permission denied | read-only file system | permissionerror
        | operation not permitted
        """,
    ),
    _rule("container_lost", "container execution failed | container logs | inspect container"),
    _rule(
        "invalid_request",
        """
        cannot unmarshal | invalid character | =unexpected eof | end of json | =eof | unknown field
        | strconv. | request body too large | ^missing version | ^missing target | ^missing profile
        | ^missing distro | ^missing packages | missing parameter | required property
        | binascii.error | base64 | invalid utf-8 | max depth | is not of type | failed on the '
        | use either | exceed max size | input should be | string should | value is not a valid
        | ensure this value | does not match | expecting value | expecting property | extra data:
        | could not understand
        """,
    ),
    _rule("build_timeout", "deadline exceeded"),
    # Nobody's known words: what is spoken of, and how it fares.
    _rule(
        "disk_full", "disk | space | storage", near="full | not enough | insufficient | exhausted"
    ),
    _rule("worker_lost", "worker", near=_GONE),
    _rule("container_lost", "container", near=_GONE),
    _rule("container_image_missing", "container image | imagebuilder image", near=_ABSENT),
    _rule(
        "build_timeout",
        "timeout | timed out | too long | time limit | maximum duration | longer than",
        near="build | job | task | building",
    ),
    _rule(
        "build_cancelled",
        "cancel | aborted | stopped by | stopped on | shutdown",
        near="build | job | task | user | worker",
    ),
    _rule(
        "signature_failed",
        "verification failed | wrong key",
        near="signify | usign | minisign | ucert | key",
    ),
    _rule("tls_failed", "certificate | ssl | tls | x509 | sec_e_", near=_TROUBLE),
    _rule("download_corrupt", "archive | checksum | hash | digest", near=_DAMAGED),
    _rule("queue_unreachable", _UNREACHABLE, near="redis"),
    _rule(
        "state_store_failed",
        "redis | database | transaction | sql: | sqlite | postgres | mysql",
        near=_TROUBLE,
    ),
    _rule(
        "store_failed", "s3 | bucket | upload | object store | /store/", near=f"{_TROUBLE} | [errno"
    ),
    _rule("container_engine_down", "podman | docker", near=_UNREACHABLE),
    _rule("container_setup_failed", "container", near=_TROUBLE),
    _rule("repository_not_allowed", "repositor | feed", near=_REFUSED),
    _rule("defaults_not_allowed", "defaults | script", near=_REFUSED),
    _rule(
        "version_mismatch",
        "version | revision",
        near="mismatch | expected | requested ... got | differ",
    ),
    _rule("unsupported_distro", "distro | distribution", near=f"{_ABSENT} | {_REFUSED}"),
    _rule("build_output_missing", "profiles.json | result | images", near=_ABSENT),
    _rule(
        "unsupported_profile", "profile | device | board | model", near=f"{_ABSENT} | {_REFUSED}"
    ),
    _rule("package_not_found", "package", near=_ABSENT),
    _rule("unsupported_target", "target", near=f"{_ABSENT} | {_REFUSED}"),
    _rule("unsupported_version", "version | release | branch", near=f"{_ABSENT} | {_REFUSED}"),
    _rule("queue_full", "queue | builds | jobs", near="full | too many | overload"),
    _rule(
        "upstream_unreachable",
        "upstream | .versions.json | .targets.json",
        near=f"{_TROUBLE} | {_ABSENT}",
    ),
    _rule("download_failed", "download | fetch", near=_TROUBLE),
    _rule(
        "invalid_request",
        "request | json | field | parameter",
        near="invalid | not valid | malformed | missing | required | bad",
    ),
    _rule("invalid_request", "must be | out of range | not allowed$"),
    _rule(
        "imagebuilder_failed",
        "imagebuilder | make | build",
        near="failed with | exit status | exit code",
    ),
    _rule("download_failed", _UNREACHABLE),
    _rule("imagebuilder_failed", "^build failed:"),
)

# Lines that report progress and say nothing of what failed, however tempting their words are.
NOISE: tuple[str, ...] = (
    "downloading ",
    "updated list of available",
    "installing ",
    "configuring ",
    "enabling ",
    "generate local ",
    "calculating checksums",
    "package list missing",
    "building package index",
    "warning: can't open config file",
    "warning: opening /builder/packages",
    "unable to find image '",
    "current target:",
    "current architecture:",
    "current revision:",
    "default packages:",
    "available profiles:",
    "packages:",
)
