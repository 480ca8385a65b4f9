//! Which watch in the cluster has the events of which watch of a client.

use std::{cell::RefCell, collections::HashMap, rc::Rc, time::Duration};

use proto::etcdserverpb::{WatchCreateRequest, WatchResponse};
use server::status::Status;

use super::{
    super::{
        kv::Kv,
        metrics::Metrics,
        operation::Keys,
        plain::Plain,
        upstream::{is_about_token, status},
    },
    watcher::{Broadcast, Watcher},
};

/// Before watchers whose stream was lost for no reason join again.
const PAUSE: Duration = Duration::from_secs(1);

/// What can share a watch: the range, and whether it ends with the leader.
type Group = (Keys, bool);

/// The service.
pub(in super::super) struct Hub {
    plain: Rc<Plain>,
    /// For the check whether a client may watch.
    pub(super) kv: Rc<Kv>,
    metrics: Rc<Metrics>,
    groups: RefCell<HashMap<Group, Vec<Rc<Broadcast>>>>,
}

/// How a watch in the cluster ended.
enum End {
    /// A member says so.
    Canceled(WatchResponse),
    /// The stream did.
    Refused(Status),
    /// Without a word.
    Lost,
}

impl Hub {
    pub(in super::super) fn new(plain: Rc<Plain>, kv: Rc<Kv>, metrics: Rc<Metrics>) -> Rc<Hub> {
        Rc::new(Hub {
            plain,
            kv,
            metrics,
            groups: RefCell::default(),
        })
    }

    /// Gives a watcher a broadcast.
    pub(super) fn join(self: &Rc<Self>, watcher: Rc<Watcher>) {
        let group = (watcher.keys.clone(), watcher.who.has_leader);
        let mut groups = self.groups.borrow_mut();
        let broadcasts = groups.entry(group).or_default();
        let fitting = broadcasts.iter().find(|one| one.fits(watcher.next.get()));
        if let Some(broadcast) = fitting {
            if !watcher.is_created.get() {
                watcher.create(broadcast.header.get());
            }
            self.add(broadcast, watcher);
            return;
        }
        let broadcast = Broadcast::new(
            watcher.keys.clone(),
            watcher.who.clone(),
            watcher.next.get(),
        );
        broadcasts.push(broadcast.clone());
        self.add(&broadcast, watcher);
        let task = tokio::task::spawn_local(self.clone().run(broadcast.clone()));
        broadcast.task.set(Some(task.abort_handle()));
    }

    fn add(&self, broadcast: &Rc<Broadcast>, watcher: Rc<Watcher>) {
        *watcher.joined.borrow_mut() = Some(broadcast.clone());
        if broadcast.add(watcher) > 1 {
            self.metrics.watchers_coalescing.inc();
        }
    }

    /// Takes a watcher out of its broadcast, which ends with its last one.
    pub(super) fn leave(&self, watcher: &Rc<Watcher>) {
        let Some(broadcast) = watcher.joined.take() else {
            return;
        };
        if broadcast.remove(watcher) > 0 {
            self.metrics.watchers_coalescing.dec();
        } else {
            self.end(&broadcast);
        }
    }

    /// Ends a broadcast without watchers.
    fn end(&self, broadcast: &Rc<Broadcast>) {
        let group = (broadcast.keys.clone(), broadcast.who.has_leader);
        let mut groups = self.groups.borrow_mut();
        if let Some(broadcasts) = groups.get_mut(&group) {
            broadcasts.retain(|one| !Rc::ptr_eq(one, broadcast));
            if broadcasts.is_empty() {
                groups.remove(&group);
            }
        }
        if let Some(task) = broadcast.task.take() {
            task.abort();
        }
    }

    async fn run(self: Rc<Self>, broadcast: Rc<Broadcast>) {
        let end = self.pump(&broadcast).await;
        // This task has ended by itself, and may wait below.
        broadcast.task.take();
        let watchers = broadcast.take_all();
        let shared = i64::try_from(watchers.len()).unwrap_or(0) - 1;
        self.metrics.watchers_coalescing.sub(shared.max(0));
        self.end(&broadcast);
        if matches!(end, End::Lost) {
            tokio::time::sleep(PAUSE).await;
        }
        for watcher in watchers {
            watcher.joined.take();
            self.over(&broadcast, &end, watcher);
        }
    }

    /// Watches in the cluster until that ends.
    async fn pump(self: &Rc<Self>, broadcast: &Rc<Broadcast>) -> End {
        let watcher = match self.plain.upstream.watcher_of(&broadcast.who) {
            Ok(watcher) => watcher,
            Err(status) => return End::Refused(status),
        };
        let keys = match &self.plain.namespace {
            Some(namespace) => namespace.inside(&broadcast.keys),
            None => broadcast.keys.clone(),
        };
        let request = WatchCreateRequest {
            key: keys.key,
            range_end: keys.end,
            start_revision: broadcast.next.get(),
            progress_notify: true,
            prev_kv: true,
            ..WatchCreateRequest::default()
        };
        let mut watch = watcher.lock().await.watch_created(request).await;
        drop(watcher);
        loop {
            match watch.message().await {
                Ok(Some(response)) if response.canceled => return End::Canceled(response),
                Ok(Some(response)) => self.spread(broadcast, response),
                Ok(None) => return End::Lost,
                Err(error) => return End::Refused(status(error)),
            }
        }
    }

    /// Hands a response to all watchers of a broadcast.
    fn spread(self: &Rc<Self>, broadcast: &Rc<Broadcast>, mut response: WatchResponse) {
        if let Some(namespace) = &self.plain.namespace {
            for event in &mut response.events {
                let kvs = event.kv.iter_mut().chain(&mut event.prev_kv);
                kvs.for_each(|kv| namespace.strip(kv));
            }
        }
        if let (Some(ordering), Some(header)) = (&self.plain.ordering, &response.header) {
            ordering.saw(header.revision);
        }
        broadcast.passed(&response);
        let watchers = broadcast.all();
        let shared = watchers.len().saturating_sub(1);
        self.metrics.events_coalescing.inc_by(shared as u64);
        for watcher in watchers {
            if !watcher.take(&response) {
                self.leave(&watcher);
                watcher.falls_behind();
            }
        }
        self.merge(broadcast);
    }

    /// Moves all watchers of a broadcast to another one that is not ahead of any.
    fn merge(&self, broadcast: &Rc<Broadcast>) {
        let group = (broadcast.keys.clone(), broadcast.who.has_leader);
        let Some(least) = broadcast.all().iter().map(|one| one.next.get()).min() else {
            return;
        };
        let other = {
            let groups = self.groups.borrow();
            let mut others = groups.get(&group).into_iter().flatten();
            let other = others.find(|one| !Rc::ptr_eq(one, broadcast) && one.fits(least));
            other.cloned()
        };
        if let Some(other) = other {
            for watcher in broadcast.all() {
                self.leave(&watcher);
                self.add(&other, watcher);
            }
        }
    }

    /// What becomes of a watcher whose watch in the cluster has ended.
    fn over(self: &Rc<Self>, broadcast: &Broadcast, end: &End, watcher: Rc<Watcher>) {
        let is_other = watcher.who != broadcast.who;
        match end {
            End::Lost => self.join(watcher),
            // It was another client's token.
            End::Canceled(response) if is_other && is_about_token(&response.cancel_reason) => {
                self.join(watcher);
            }
            End::Refused(status) if is_other && is_about_token(&status.message) => {
                self.join(watcher);
            }
            // It has all that is gone.
            End::Canceled(response)
                if response.compact_revision > 0
                    && watcher.next.get() >= response.compact_revision =>
            {
                self.join(watcher);
            }
            End::Canceled(response) => watcher.cancel(response),
            End::Refused(status) => watcher.refuse(status),
        }
    }
}
