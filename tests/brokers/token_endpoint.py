"""An OAuth token endpoint for Kafka's tests: client credentials for a JSON Web Token that is not signed, which
Kafka's own validator for tests takes. What a client gets is in its name."""
import base64
import http.server
import json
import ssl
import threading
import time
import urllib.parse

SECRET = "secret / ü"  # it must be escaped on its way


def unsigned_token(subject, seconds):
    def part(x):
        return base64.urlsafe_b64encode(json.dumps(x).encode()).rstrip(b"=").decode()
    now = time.time()
    return f'{part({"alg": "none"})}.{part({"sub": subject, "iat": now, "exp": now + seconds})}.'


class Endpoint:
    """Clients: app (a token for an hour), brief (for 5 s), empty (an answer without a token), endless (one too
    long); all with SECRET and scope "kafka write". Anybody else: 401. GET tells how many tokens were
    given."""

    def __init__(self, certificates):
        end = self
        self.given = 0

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                self.answer(200, {"given": end.given})

            def do_POST(self):
                form = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
                self.answer(*end.token(self.headers.get("Authorization", ""), form))

            def answer(self, status, content):
                self.send_response(status)
                self.end_headers()
                try:
                    self.wfile.write(json.dumps(content).encode())
                except OSError:
                    pass  # it had enough

            def log_message(self, *_):
                pass
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificates / "server.pem", certificates / "server.key")
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.url = f"https://localhost:{self.server.server_address[1]}/token"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def token(self, authorization, form):
        kind, _, coded = authorization.partition(" ")
        name, _, secret = base64.b64decode(coded).decode().partition(":")
        name, secret = urllib.parse.unquote_plus(name), urllib.parse.unquote_plus(secret)
        if kind != "Basic" or secret != SECRET or dict(urllib.parse.parse_qsl(form)) != {
                "grant_type": "client_credentials", "scope": "kafka write"}:
            return 401, {"error": "invalid_client"}
        if name == "empty":
            return 200, {"expires_in": 3600}
        if name == "endless":
            return 200, {"access_token": "x" * (1 << 20)}
        if name not in ("app", "brief"):
            return 401, {"error": "invalid_client"}
        self.given += 1
        seconds = 3600 if name == "app" else 5
        return 200, {"access_token": unsigned_token(name, seconds), "token_type": "Bearer",
                     "expires_in": seconds}

    def close(self):
        self.server.shutdown()
        self.server.server_close()
