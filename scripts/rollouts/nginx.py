"""The configuration of nginx, which decides the version that answers a request."""

from __future__ import annotations

# A connection takes one request: while nginx reads a new configuration it closes those that wait for
# a next one, and a client may just be sending it.
CONF = """# Written by scripts/deploy. A key always reaches the same version.
{user}pid {scratch}/nginx.pid;
error_log {log};
worker_rlimit_nofile 16384;
events {{ worker_connections 8192; }}
http {{
  access_log off;
  client_body_temp_path {scratch}/body;
  proxy_temp_path {scratch}/proxy;
  fastcgi_temp_path {scratch}/fastcgi;
  uwsgi_temp_path {scratch}/uwsgi;
  scgi_temp_path {scratch}/scgi;
  client_max_body_size 32m;
  keepalive_timeout 0;
  map $http_authorization $bearer {{
    default $http_authorization;
    "~*^Bearer +(?<word>.+)$" $word;
  }}
  map $http_cookie $session {{
    default "";
    "~(?:^|; *)__Host-aideon=(?<cookie>[^;]+)" $cookie;
  }}
  map "$bearer$http_x_api_key" $key {{
    default "$bearer$http_x_api_key";
    "" $session;
  }}
  map $key $who {{
    default $key;
    "" $remote_addr;
  }}
  map $http_x_forwarded_proto $scheme_outside {{
    default $http_x_forwarded_proto;
    "" $scheme;
  }}
  map $http_idempotency_key $once {{
    default $http_idempotency_key;
    "" $request_id;
  }}
  split_clients $who $version {{ {rules} }}
  server {{
    listen {listen};
    location = /rollout-mark {{ return 200 "{mark}"; }}
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    proxy_set_header Host $http_host;
    proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    proxy_set_header X-Forwarded-Proto $scheme_outside;
    proxy_set_header Idempotency-Key $once;
    proxy_buffering off;
    proxy_connect_timeout 5s;
    proxy_read_timeout 3600s;
    location / {{
      proxy_pass http://$version;
      proxy_next_upstream error timeout http_500 http_502 http_503 http_504;
    }}
    # With a word of its own a request starts one run, however often it is sent.
    location = /api/v1/runs {{
      proxy_pass http://$version;
      proxy_next_upstream error timeout http_500 http_502 http_503 http_504 non_idempotent;
    }}
  }}
{upstreams}}}
"""


def nginx_conf(
    share: int,
    old: str | None,
    new: str | None = None,
    *,
    mark: str = "",
    listen: str = "8080",
    scratch: str = "/tmp",  # noqa: S108 -- in the proxy's container
    log: str = "stderr",
    user: str = "",
) -> str:
    """Write the configuration: `share` per cent of the keys reach the new version.

    What the new version fails to answer, the old one does, unless that could begin something twice.
    """
    rules = {0: "* old;", 100: "* new;"}.get(share, f"{share}% new; * old;")
    # Whatever fails, the new version gets its share: else nobody would see that it fails.
    spare = f" server {old} backup;" if old else ""
    upstreams = f"  upstream old {{ server {old}; }}\n" if old and share < 100 else ""  # noqa: PLR2004
    upstreams += f"  upstream new {{ server {new} max_fails=0;{spare} }}\n" if new and share else ""
    given = {"listen": listen, "scratch": scratch, "log": log, "mark": mark}
    return CONF.format(rules=rules, upstreams=upstreams, user=user, **given)
