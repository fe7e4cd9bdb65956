//! The subscribing side of the public face.

use crate::config::{SubscriberBuilder, Wait};
use crate::detached::{DetachedSubscriber, Queue};
use crate::driver::{Alarm, Driver};
use crate::error::Error;
use crate::net::{BufferWarning, Interface};
use crate::protocol::subscriber::{Ready, SubscriberStats};
use crate::protocol::{Event, Time};
use crate::wire::{ReceiverId, SourceId};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Receives messages, on the thread that calls it.
///
/// The subscriber works only while it is called: what arrives in between waits in the sockets' buffers. Gaps found, status and
/// repairs wait too, so call it at least every few milliseconds: left alone for longer than the buffers last it loses datagrams
/// (and asks for them when it is called again); left alone for a publisher's patience (1 s by default) it is no longer waited for.
/// [`detach`](Self::detach) gives it a thread of its own.
///
/// Dropping it takes leave of the publishers, so that none waits for it.
#[derive(Debug)]
pub struct Subscriber {
    driver: Driver,
    wait: Wait,
    look: Look,
    /// Somebody has a waiting call return.
    woken: Arc<Woken>,
}

/// How long a wait that blocks looks before it sleeps. To sleep for what is about to come costs both sides more than to look for
/// it, so one looks while things come in quick succession; where that was in vain, more and more seldom.
#[derive(Debug, Default)]
struct Look {
    /// The last wait was a short one.
    short: bool,
    /// How often in a row looking was in vain, and how many waits are yet to sleep at once for that.
    in_vain: u32,
    skip: u32,
}

impl Look {
    const TIME: Duration = Duration::from_micros(60);
    /// With the time it takes to wake.
    const SHORT: Duration = Duration::from_micros(150);
    const MOST_DOUBLINGS: u32 = 6;

    fn time(&mut self) -> Duration {
        if self.skip > 0 {
            self.skip -= 1;
            return Duration::ZERO;
        }
        if self.short { Self::TIME } else { Duration::ZERO }
    }

    /// A wait is over that looked for `time` at the most.
    fn over(&mut self, time: Duration, slept: bool, took: Duration) {
        self.short = took < Self::SHORT;
        if time > Duration::ZERO {
            self.in_vain = if slept { (self.in_vain + 1).min(Self::MOST_DOUBLINGS) } else { 0 };
            self.skip = if slept { 1 << self.in_vain } else { 0 };
        }
    }
}

/// Has a subscriber's waiting call return, from any thread, as when a program is told to end.
///
/// Made by [`Subscriber::waker`]; clones wake the same subscriber. Once that is gone, or has a thread of its own
/// ([`Subscriber::detach`]), waking does nothing.
#[derive(Clone, Debug)]
pub struct Waker {
    alarm: Alarm,
    woken: Arc<Woken>,
}

/// Who has not taken notice of being woken: a waiting call, and a look at what made the descriptor readable.
#[derive(Debug, Default)]
struct Woken {
    call: AtomicBool,
    descriptor: AtomicBool,
}

impl Waker {
    /// Has the call that waits return, or if none does the next that would: [`Subscriber::recv`] with [`Error::Woken`],
    /// [`Subscriber::recv_timeout`] with no event. What is here is given first. To wake several times before that is to wake
    /// once. The subscriber's descriptor becomes readable, too.
    pub fn wake(&self) {
        self.woken.call.store(true, Ordering::SeqCst);
        self.alarm.wake();
        // Not before: who takes notice of it has what made the descriptor readable.
        self.woken.descriptor.store(true, Ordering::SeqCst);
    }
}

impl Subscriber {
    /// Settings for a subscriber to `group`, a multicast address and port.
    pub fn builder(group: SocketAddr) -> SubscriberBuilder {
        SubscriberBuilder::new(group)
    }

    pub(crate) fn new(driver: Driver, wait: Wait) -> Subscriber {
        Subscriber { driver, wait, look: Look::default(), woken: Arc::default() }
    }

    /// The next event; waits for it as the builder's [`Wait`] says.
    ///
    /// # Errors
    /// [`Error::System`] when the sockets fail; [`Error::Woken`] when a [waker](Self::waker) was used.
    pub fn recv(&mut self) -> Result<Event<'_>, Error> {
        let Some(ready) = self.next_until(Time::NEVER)? else { return Err(Error::Woken) };
        Ok(self.driver.event(&ready))
    }

    /// The next event, if one is here.
    ///
    /// # Errors
    /// [`Error::System`] when the sockets fail.
    pub fn try_recv(&mut self) -> Result<Option<Event<'_>>, Error> {
        let ready = self.look(None, Driver::next)?;
        Ok(ready.map(|ready| self.driver.event(&ready)))
    }

    /// The next event, if one comes within `timeout`, and before a [waker](Self::waker) is used.
    ///
    /// # Errors
    /// [`Error::System`] when the sockets fail.
    pub fn recv_timeout(&mut self, timeout: Duration) -> Result<Option<Event<'_>>, Error> {
        let until = self.driver.clock().now() + timeout;
        let ready = self.next_until(until)?;
        Ok(ready.map(|ready| self.driver.event(&ready)))
    }

    /// Gives events that are here to `handle`, at most `limit`; tells how many. The cheapest way to take many messages.
    ///
    /// # Errors
    /// [`Error::System`] when the sockets fail.
    pub fn poll(&mut self, limit: usize, mut handle: impl FnMut(Event<'_>)) -> Result<usize, Error> {
        if limit == 0 {
            return Ok(0);
        }
        self.look(0, |driver| driver.poll(limit, &mut handle))
    }

    fn next(&mut self) -> Result<Option<Ready>, Error> {
        self.driver.next().map_err(Error::system("receiving"))
    }

    /// Takes what is here without waiting; when that is `nothing`, the descriptor tells when there may be more.
    fn look<T: PartialEq>(
        &mut self,
        nothing: T,
        mut take: impl FnMut(&mut Driver) -> io::Result<T>,
    ) -> Result<T, Error> {
        let mut take = |driver: &mut Driver| take(driver).map_err(Error::system("receiving"));
        self.driver.look();
        let mut taken = take(&mut self.driver)?;
        if taken == nothing && self.woken.descriptor.swap(false, Ordering::SeqCst) {
            // Taken notice of, lest the descriptor stays readable.
            self.driver.wait(Time(0)).map_err(Error::system("waiting"))?;
            taken = take(&mut self.driver)?;
        }
        if taken == nothing {
            self.driver.arm();
        }
        Ok(taken)
    }

    fn next_until(&mut self, until: Time) -> Result<Option<Ready>, Error> {
        if let Some(ready) = self.next()? {
            return Ok(Some(ready));
        }
        let begun = self.driver.clock().now();
        let time = match self.wait {
            Wait::Block => self.look.time(),
            Wait::SpinThenBlock(time) => time,
            Wait::Spin => Duration::MAX,
        };
        let spin_until = (begun + time).min(until);
        let mut slept = false;
        let ready = loop {
            if self.woken.call.swap(false, Ordering::SeqCst) {
                return Ok(None);
            }
            if self.driver.has_more() {
                // It goes on at once.
            } else if self.driver.clock().now() < spin_until {
                self.driver.spin(spin_until).map_err(Error::system("receiving"))?;
            } else {
                slept = true;
                self.driver.wait(until).map_err(Error::system("waiting"))?;
            }
            if let Some(ready) = self.next()? {
                break Some(ready);
            }
            if until.is_due(self.driver.clock().now()) {
                break None;
            }
        };
        if self.wait == Wait::Block {
            self.look.over(time, slept, self.driver.clock().now().since(begun));
        }
        Ok(ready)
    }

    /// What any thread has a waiting call of this subscriber return with.
    pub fn waker(&self) -> Waker {
        Waker { alarm: self.driver.alarm(), woken: Arc::clone(&self.woken) }
    }

    /// When [`try_recv`](Self::try_recv) or [`poll`](Self::poll) should be called next though nothing came: for a foreign event loop
    /// that cannot wait for the descriptor.
    pub fn next_deadline(&self) -> Option<Instant> {
        let deadline = self.driver.deadline();
        if deadline == Time::NEVER { None } else { self.driver.clock().instant(deadline) }
    }

    /// This run's id.
    pub fn receiver_id(&self) -> ReceiverId {
        self.driver.subscriber().config().receiver
    }

    /// The interface it joined on.
    pub fn interface(&self) -> Option<&Interface> {
        self.driver.sockets()[0].interface()
    }

    /// The address it sends NAKs and status from, and takes repairs at.
    pub fn local_addr(&self) -> SocketAddr {
        self.driver.sockets()[1].local_addr()
    }

    /// What an operator should know: a receive buffer that was granted smaller than asked.
    pub fn warnings(&self) -> Vec<BufferWarning> {
        self.driver.sockets()[0].buffer_warning().into_iter().collect()
    }

    /// Where a publisher sends from, of those that are known now.
    pub fn address_of(&self, source: SourceId) -> Option<SocketAddr> {
        self.driver.subscriber().address_of(source)
    }

    /// The counters.
    pub fn stats(&self) -> SubscriberStats {
        self.driver.stats()
    }

    /// Gives the subscriber a thread of its own, and the application a queue to take events from.
    ///
    /// # Errors
    /// [`Error::System`] when there is no thread to be had; [`Error::Setting`] for a queue without room.
    pub fn detach(self, queue: Queue) -> Result<DetachedSubscriber, Error> {
        DetachedSubscriber::start(self.driver, queue)
    }
}

/// The descriptor for a foreign event loop: when it is readable, call [`Subscriber::try_recv`] or [`Subscriber::poll`] until
/// nothing comes.
#[cfg(unix)]
impl std::os::fd::AsRawFd for Subscriber {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        self.driver.as_raw_fd()
    }
}
