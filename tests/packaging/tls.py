"""TLS before a server that has none: tls.py CERTIFICATE PORT PORT-BEHIND, with the key in the certificate's file."""

import asyncio
import ssl
import sys


async def copy(source, sink):
    try:
        while data := await source.read(65536):
            sink.write(data)
            await sink.drain()
    except OSError:
        pass
    sink.close()


async def serve(reader, writer):
    behind = await asyncio.open_connection("127.0.0.1", int(sys.argv[3]))
    await asyncio.gather(copy(reader, behind[1]), copy(behind[0], writer))


async def main():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(sys.argv[1])
    server = await asyncio.start_server(serve, "127.0.0.1", int(sys.argv[2]), ssl=context)
    await server.serve_forever()


asyncio.run(main())
