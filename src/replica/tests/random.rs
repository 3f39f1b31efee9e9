//! Random requests: digests are predicted exactly, replies stay in order, and arbitrary bytes never panic.

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Step {
    Create(usize, i32),
    Delete(usize, i32),
    Set(usize, i32),
    SetAcl(usize, i32),
    Multi(Vec<Step>),
    Read(usize),
    Sync,
    Close,
}

const PATHS: [&str; 7] = ["/a", "/a/b", "/a/b/c", "/d", "/d/e-", "/zookeeper/q", "/"];

fn single() -> impl Strategy<Value = Step> {
    let path = || 0..PATHS.len();
    let version = || prop_oneof![4 => Just(-1), 1 => 0..3_i32];
    prop_oneof![
        4 => (path(), 0..5_i32).prop_map(|(path, flags)| Step::Create(path, flags)),
        2 => (path(), version()).prop_map(|(path, version)| Step::Delete(path, version)),
        2 => (path(), version()).prop_map(|(path, version)| Step::Set(path, version)),
    ]
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        10 => single(),
        1 => (0..PATHS.len(), -1..2_i32).prop_map(|(path, version)| Step::SetAcl(path, version)),
        2 => prop::collection::vec(single(), 0..4).prop_map(Step::Multi),
        2 => (0..PATHS.len()).prop_map(Step::Read),
        1 => Just(Step::Sync),
        1 => Just(Step::Close),
    ]
}

fn as_request(xid: i32, step: &Step) -> (Op, Bytes) {
    match step {
        Step::Create(path, 4) => {
            let op = Op::CreateContainer;
            (op, create_with(xid, op, PATHS[*path], 4, &open_acl()))
        }
        Step::Create(path, flags) => (Op::Create, create(xid, PATHS[*path], *flags)),
        Step::Delete(path, version) => (Op::Delete, delete(xid, PATHS[*path], *version)),
        Step::Set(path, version) => (Op::SetData, set_data(xid, PATHS[*path], &xid.to_be_bytes(), *version)),
        Step::SetAcl(path, version) => {
            (Op::SetAcl, set_acl(xid, PATHS[*path], &acl(31, "ip", "127.0.0.1"), *version))
        }
        Step::Multi(steps) => {
            let ops: Vec<_> = steps
                .iter()
                .map(|step| as_request(xid, step))
                .map(|(op, request)| (op, body(&request)))
                .collect();
            (Op::Multi, multi(xid, &ops))
        }
        Step::Read(path) => (Op::GetData, read(xid, Op::GetData, PATHS[*path], Watch::Yes)),
        Step::Sync => {
            let fill = |writer: &mut Writer| {
                writer.string("/");
            };
            (Op::Sync, request(xid, Op::Sync, fill))
        }
        Step::Close => (Op::CloseSession, bare(xid, Op::CloseSession)),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Every step checks the digest; here writes are applied long after they were decided.
    #[test]
    fn digests_are_predicted_and_replies_keep_their_order(
        steps in prop::collection::vec((any_step(), 0..4_usize), 1..60),
    ) {
        let mut alone = Alone::new();
        let mut clients: Vec<ConnId> = (0..2).map(|_| alone.client()).collect();
        alone.disk = Disk::Held;
        let mut asked: BTreeMap<ConnId, Vec<i32>> = BTreeMap::new();
        let mut answered: BTreeMap<ConnId, Vec<i32>> = BTreeMap::new();
        for (number, (step, synced)) in steps.iter().enumerate() {
            let xid = i32::try_from(number).expect("small") + 1;
            let id = clients[number % clients.len()];
            let (_, request) = as_request(xid, step);
            asked.entry(id).or_default().push(xid);
            alone.frames(id, [request]);
            for _ in 0..*synced {
                alone.sync_if_held();
            }
            if matches!(step, Step::Close) {
                while alone.sync_if_held() {}
                let frames = alone.replies(id);
                answered.entry(id).or_default().extend(frames.iter().map(|frame| frame.xid).filter(|xid| *xid > 0));
                alone.disk = Disk::Instant;
                clients[number % 2] = alone.client();
                alone.disk = Disk::Held;
            }
        }
        while alone.sync_if_held() {}
        for id in &clients {
            let frames = alone.replies(*id);
            answered.entry(*id).or_default().extend(frames.iter().map(|frame| frame.xid).filter(|xid| *xid > 0));
        }
        for (id, asked) in &asked {
            prop_assert_eq!(answered.get(id), Some(asked));
        }
        // A start from the log gives the same tree.
        let before = alone.replica.inspect();
        let recovered = Recovered { txns: alone.txns.clone(), may_vote: true, ..Recovered::default() };
        let again = Alone::with(settings(), recovered).replica.inspect();
        prop_assert_eq!((again.zxid, again.digest, again.node_count), (before.zxid, before.digest, before.node_count));
    }

    #[test]
    fn arbitrary_frames_of_a_client_never_panic(
        frames in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 1..6),
        op in prop_oneof![-11..30_i32, 98..110_i32],
    ) {
        let mut alone = Alone::new();
        let id = alone.accept();
        alone.frames(id, frames.iter().cloned().map(Bytes::from));
        let id = alone.client();
        for frame in frames {
            let mut writer = Writer::new();
            writer.i32(1).i32(op).raw(&frame);
            alone.frames(id, [writer.finish()]);
        }
        let well = alone.client();
        prop_assert_eq!(alone.err(well, bare(1, Op::Ping)), 0);
    }
}
