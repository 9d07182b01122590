"""A mail by SMTP, with the morning page attached."""

from __future__ import annotations

import smtplib
import ssl
from contextlib import suppress
from email import policy
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import formatdate, make_msgid, parseaddr

from pydantic import SecretStr

from pipeline.config import EmailConfig
from pipeline.night.page import PAGE
from pipeline.notify.event import Event
from pipeline.notify.hook import HookError, cause_of

LARGEST_PAGE_BYTES = 5 << 20


def send_mail(
    config: EmailConfig, password: SecretStr | None, event: Event, page: bytes | None, timeout_s: float
) -> None:
    """Hand it to the server once. `timeout_s` is for each wait on the network. Raises HookError."""
    message = message_of(config, event, page)
    server: smtplib.SMTP | None = None
    try:
        server = _connected(config, timeout_s)
        if config.user and password is not None:
            server.login(config.user, password.get_secret_value())
        refused = server.send_message(message)
    except (smtplib.SMTPException, OSError, ValueError) as exc:
        raise _told(exc) from None
    finally:
        if server is not None:
            with suppress(smtplib.SMTPException, OSError):
                server.close()  # no QUIT: once the mail is taken, nothing may fail any more
    if refused:
        raise HookError(f"{len(refused)} of {len(config.to)} recipients were refused")


def _connected(config: EmailConfig, timeout_s: float) -> smtplib.SMTP:
    host, port = config.address
    context = ssl.create_default_context()
    if config.tls == "tls":
        return smtplib.SMTP_SSL(host, port, timeout=timeout_s, context=context)
    server = smtplib.SMTP(host, port, timeout=timeout_s)
    if config.tls == "starttls":
        try:
            server.starttls(context=context)
        except BaseException:
            server.close()
            raise
    return server


def _told(exc: Exception) -> HookError:
    """Codes, never texts: a server's words may repeat what it was sent."""
    if isinstance(exc, smtplib.SMTPAuthenticationError):
        return HookError(f"user or password was refused ({exc.smtp_code})")
    if isinstance(exc, smtplib.SMTPRecipientsRefused):
        codes = sorted({code for code, _ in exc.recipients.values()})
        again = all(400 <= code < 500 for code in codes)
        return HookError(f"every recipient was refused ({', '.join(map(str, codes))})", again=again)
    if isinstance(exc, smtplib.SMTPResponseException):
        return HookError(f"the server answered {exc.smtp_code}", again=400 <= exc.smtp_code < 500)
    if isinstance(exc, smtplib.SMTPNotSupportedError):
        return HookError("the server does not offer what tls and user need (STARTTLS, AUTH)")
    if isinstance(exc, smtplib.SMTPServerDisconnected) and isinstance(exc.__context__, TimeoutError):
        return HookError(cause_of(exc.__context__), again=True)
    if isinstance(exc, smtplib.SMTPException):
        return HookError(f"the connection broke ({type(exc).__name__})", again=True)
    if isinstance(exc, OSError):
        return HookError(cause_of(exc), again=not isinstance(exc, ssl.SSLError))
    return HookError(f"it could not be sent ({type(exc).__name__})")


def message_of(config: EmailConfig, event: Event, page: bytes | None) -> EmailMessage:
    """The mail: a short text, and the page where it is not too large."""
    message = EmailMessage(policy=policy.SMTP)
    message["Subject"] = f"[capillary-export] {event.title}"
    message["From"] = _address(config.from_)
    message["To"] = tuple(map(_address, config.to))
    message["Date"] = formatdate(localtime=True)
    message["Message-ID"] = make_msgid(domain=parseaddr(config.from_)[1].partition("@")[2])
    message["Auto-Submitted"] = "auto-generated"  # out-of-office replies stay away (RFC 3834)
    message.set_content(mail_text(event))
    if page is not None and len(page) <= LARGEST_PAGE_BYTES:
        name = f"night-{event.night}.html" if event.night else PAGE
        message.add_attachment(page, maintype="text", subtype="html", filename=name)
    return message


def _address(text: str) -> Address:
    name, address = parseaddr(text)
    return Address(display_name=name, addr_spec=address)


def mail_text(event: Event) -> str:
    """The event, plain."""
    lines = [event.title, "", *event.lines()]
    if event.next_command:
        lines += ["", f"Next: {event.next_command}"]
    if event.page:
        lines += ["", f"Page: {event.page}"]
    return "\n".join(lines) + "\n"
