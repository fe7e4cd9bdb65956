//! A datagram as a whole: the view of its payload by its type, checked against its header, and one line for humans.

use super::control::{Announce, End, Heartbeat, Nak, Ncf, Status};
use super::data::{Fragment, Records};
use super::header::{Datagram, Kind, MAX_SEQUENCE, flag};
use super::invalid::Invalid;
use std::fmt;

/// What a datagram says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body<'a> {
    /// Data or a repair that carries whole messages.
    Records(Records<'a>),
    /// Data or a repair that carries a piece of one message.
    Fragment(Fragment<'a>),
    /// A stream's id and its topic.
    Announce(Announce<'a>),
    /// A source is alive, and where its streams stand.
    Heartbeat(Heartbeat<'a>),
    /// A receiver asks for what it is missing.
    Nak(Nak<'a>),
    /// A publisher confirms a NAK.
    Ncf(Ncf<'a>),
    /// A receiver's places.
    Status(Status<'a>),
    /// A stream is over.
    End(End),
}

impl<'a> Datagram<'a> {
    /// Reads the payload by the type, and checks what it says against the header: that a trail is not beyond the lead
    /// nor further from it than the window, and that an NCF of what is gone names the message that comes next.
    ///
    /// # Errors
    /// What the view of the type refuses; [`Invalid::Number`] when header and payload do not agree.
    pub fn body(&self) -> Result<Body<'a>, Invalid> {
        let (header, payload) = (&self.header, self.payload);
        let (body, agrees) = match header.kind {
            Kind::Data | Kind::Repair if header.has(flag::FRAGMENT) => {
                (Body::Fragment(Fragment::parse(payload)?), true)
            }
            Kind::Data | Kind::Repair => (Body::Records(Records::parse(payload)?), true),
            Kind::Announce => {
                let announce = Announce::parse(payload)?;
                (Body::Announce(announce), announce.agrees(header.sequence, header.message))
            }
            Kind::Heartbeat => (Body::Heartbeat(Heartbeat::parse(payload)?), true),
            Kind::Nak => (Body::Nak(Nak::parse(payload)?), true),
            Kind::Ncf => {
                let ncf = Ncf::parse(payload)?;
                (Body::Ncf(ncf), !header.has(flag::GONE) || ncf.names_next())
            }
            Kind::Status => (Body::Status(Status::parse(payload)?), true),
            Kind::End => {
                let end = End::parse(payload)?;
                (Body::End(end), end.trail - 1 <= header.sequence)
            }
        };
        if agrees { Ok(body) } else { Err(Invalid::Number) }
    }
}

/// One line: type, source, stream, and what the type says, as in
/// `data 0123456789abcdef/1 seq 7 msg 12 3 messages 120 bytes`. A payload that is refused is shown with the reason.
impl fmt::Display for Datagram<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let header = &self.header;
        write!(f, "{} {}", header.kind, header.source)?;
        if header.stream != 0 {
            write!(f, "/{}", header.stream)?;
        }
        match header.kind {
            Kind::Data | Kind::Repair => write!(f, " seq {} msg {}", header.sequence, header.message)?,
            Kind::Announce => write!(f, " lead {} next msg {}", header.sequence, header.message)?,
            Kind::End => write!(f, " last {} next msg {}", header.sequence, header.message)?,
            Kind::Heartbeat | Kind::Nak | Kind::Ncf | Kind::Status => {}
        }
        match self.body() {
            Ok(body) => {
                body.fmt_payload(header.flags, f)?;
                write!(f, " {} bytes", self.payload.len())
            }
            Err(invalid) => write!(f, " {} bytes, refused: {invalid}", self.payload.len()),
        }
    }
}

impl Body<'_> {
    fn fmt_payload(&self, flags: u8, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = |f: &mut fmt::Formatter<'_>, bit: u8, name: &str| {
            if flags & bit != 0 { write!(f, " {name}") } else { Ok(()) }
        };
        match self {
            Body::Records(records) => match records.count() {
                1 => f.write_str(" 1 message"),
                count => write!(f, " {count} messages"),
            },
            Body::Fragment(fragment) => {
                let end = fragment.offset as usize + fragment.bytes.len();
                write!(f, " fragment {}..{end} of {}", fragment.offset, fragment.total)
            }
            Body::Announce(announce) => write!(
                f,
                " trail {} msg {} window {} datagram {} idle {} us age {} ns topic {}",
                announce.trail,
                announce.trail_message,
                announce.window,
                announce.datagram,
                announce.idle_interval,
                announce.age,
                announce.topic
            ),
            Body::Heartbeat(heartbeat) => {
                write!(
                    f,
                    " idle {} us group {} round trip {} ns",
                    heartbeat.idle_interval, heartbeat.group_size, heartbeat.round_trip
                )?;
                mark(f, flag::HELD_BACK, "held back")?;
                if heartbeat.limiting.0 != 0 {
                    write!(f, " limited by {}", heartbeat.limiting)?;
                }
                heartbeat.streams().try_for_each(|state| match state {
                    Ok(state) => {
                        write!(
                            f,
                            " /{} {}..{} next msg {}",
                            state.stream, state.trail, state.lead, state.next_message
                        )?;
                        if state.limit < MAX_SEQUENCE { write!(f, " limit {}", state.limit) } else { Ok(()) }
                    }
                    Err(invalid) => write!(f, " (an entry refused: {invalid})"),
                })
            }
            Body::Nak(nak) => {
                write!(f, " by {} held {} ns", nak.receiver, nak.held)?;
                mark(f, flag::CATCHING_UP, "catching up")?;
                mark(f, flag::NAME_WANTED, "name wanted")?;
                nak.ranges().try_for_each(|range| write!(f, " {}..{}", range.first, range.last()))
            }
            Body::Ncf(ncf) => {
                let gone = flags & flag::GONE != 0;
                f.write_str(if gone { " gone" } else { " being repaired" })?;
                ncf.confirmations().try_for_each(|range| {
                    write!(f, " {}..{}", range.first, range.last)?;
                    if gone { write!(f, " next msg {}", range.next_message) } else { Ok(()) }
                })
            }
            Body::Status(status) => {
                write!(f, " by {} held {} ns", status.receiver, status.held)?;
                mark(f, flag::LEAVING, "leaving")?;
                status.positions().try_for_each(|p| {
                    write!(f, " /{} at {} limit {} missed {}", p.stream, p.position, p.limit, p.missed)?;
                    if p.ended { f.write_str(" ended") } else { Ok(()) }
                })
            }
            Body::End(end) => write!(f, " trail {}", end.trail),
        }
    }
}
