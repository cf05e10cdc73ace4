"""Takes webhooks: receiver.py PORT SECRET REFUSALS [PEM], with the certificate and key in PEM over TLS. Checks every signature with nothing but the standard library.

Prints `event {…}` for every event of a message whose signature is right, `forged` for one whose signature is not, and
`refused` for each of the first REFUSALS, which it answers with 503.
"""

import base64
import hashlib
import hmac
import http.server
import json
import ssl
import sys
import time

secret = sys.argv[2].encode()
refusals = int(sys.argv[3])


class Receiver(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        global refusals
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if refusals > 0:
            refusals -= 1
            print("refused", flush=True)
            return self.answer(503)
        message, sent_at = self.headers["webhook-id"], self.headers["webhook-timestamp"]
        signed = f"{message}.{sent_at}.".encode() + body
        signature = "v1," + base64.b64encode(hmac.new(secret, signed, hashlib.sha256).digest()).decode()
        recent = abs(time.time() - int(sent_at)) < 300
        if not recent or not hmac.compare_digest(signature, self.headers["webhook-signature"]):
            print("forged", flush=True)
            return self.answer(401)
        assert self.headers["Content-Type"] == "application/json"
        for event in json.loads(body):
            print("event", json.dumps(event), flush=True)
        self.answer(204)

    def answer(self, status):
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


server = http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Receiver)
if len(sys.argv) > 4:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(sys.argv[4])
    server.socket = context.wrap_socket(server.socket, server_side=True)
print(f"listens on {server.server_port}", flush=True)
server.serve_forever()
