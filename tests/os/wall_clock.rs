//! The wall clock: alarms, what happens when it is set, and the rules of the calendar against a naive search.

use fibers::fault::shift_wall_clock;
use fibers::time::alarm::{self, Rule, Weekday, wall_clock_was_set};
use fibers::{Op, channel, op, select, time};
use fibers_tests::{Counter, everywhere, on_workers, rounds, runtime, subprocess, watchdog};
use proptest::prelude::*;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

fn soon(micros: u64) -> SystemTime {
    SystemTime::now() + Duration::from_micros(micros)
}

const AN_HOUR: Duration = Duration::from_secs(3600);

#[test]
fn an_alarm_is_never_early() {
    everywhere(|_| {
        for micros in [0, 50, 1000, 3000] {
            let moment = soon(micros);
            alarm::at(moment);
            assert!(SystemTime::now() >= moment);
        }
        alarm::at(UNIX_EPOCH);
        alarm::at(UNIX_EPOCH - AN_HOUR);
    });
}

#[test]
fn alarms_win_and_lose() {
    everywhere(|_| {
        let far = SystemTime::now() + AN_HOUR;
        for _ in 0..rounds(300, 100_000) {
            assert_eq!(alarm::at_op(far).try_perform(), None);
            assert_eq!(alarm::at_op(far).timeout(Duration::ZERO).perform(), Err(fibers::Elapsed));
        }
        let moment = soon(500);
        select! {
            _ = <-alarm::at_op(moment) => assert!(SystemTime::now() >= moment),
            _ = time::sleep_op(AN_HOUR) => panic!("late"),
        }
        let (tx, rx) = channel(1);
        tx.send(()).unwrap();
        select! {
            _ = <-rx => {}
            _ = alarm::at_op(far) => panic!("early"),
        }
        assert_eq!(alarm::at_op(UNIX_EPOCH).wrap(|()| 1).or(op::never()).perform(), 1);
    });
}

#[test]
fn the_next_second_comes() {
    on_workers(&[1], |_| {
        let before = SystemTime::now();
        let moment = alarm::next(Rule::new());
        assert!(moment > before && SystemTime::now() >= moment);
        assert_eq!(moment.duration_since(UNIX_EPOCH).unwrap().subsec_nanos(), 0);
        assert_eq!(alarm::next_op(Rule::new().month(2).month_day(30)).try_perform(), None);
    });
}

/// Whether the system tells or not (an alarm looks again by itself), and whoever waits: each alarm once, none before its time.
#[test]
fn f29_the_clock_is_set() {
    let output = subprocess("wall_clock::f29_the_clock_is_set", || {
        everywhere(|on| {
            let (rung, waiting) = (Counter::default(), Counter::default());
            let now = SystemTime::now();
            let alarms: Vec<_> = (1..=60)
                .map(|hour| {
                    let (rung, waiting) = (rung.clone(), waiting.clone());
                    on.spawn(move || {
                        waiting.add();
                        alarm::at(now + AN_HOUR * hour);
                        rung.add();
                    })
                })
                .collect();
            on.eventually(|| waiting.get() == 60);
            // Back: nothing rings, now or by itself.
            shift_wall_clock(-7200);
            wall_clock_was_set();
            time::sleep(Duration::from_millis(2));
            assert_eq!(rung.get(), 0);
            // Forward, past the first 30; then by 30 days, past all.
            shift_wall_clock(7200 + 30 * 3600 + 60);
            wall_clock_was_set();
            on.eventually(|| rung.get() == 30);
            time::sleep(Duration::from_millis(2));
            assert_eq!(rung.get(), 30);
            shift_wall_clock(30 * 86_400);
            wall_clock_was_set();
            alarms.into_iter().for_each(|alarm| alarm.join());
            assert_eq!(rung.get(), 60);
            shift_wall_clock(-30 * 86_400 - 30 * 3600 - 60);
            wall_clock_was_set();
        });
    });
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn f29_many_alarms_and_one_jump() {
    let output = subprocess("wall_clock::f29_many_alarms_and_one_jump", || {
        let count = rounds(2_000, 100_000);
        watchdog(fibers_tests::HANG, || {
            runtime(2).run(|| {
                let moment = SystemTime::now() + 30 * 24 * AN_HOUR;
                let alarms: Vec<_> = (0..count).map(|_| fibers::spawn(move || alarm::at(moment))).collect();
                fibers::yield_now();
                shift_wall_clock(30 * 86_400);
                wall_clock_was_set();
                alarms.into_iter().for_each(|alarm| alarm.join().unwrap());
            });
        });
    });
    assert!(output.status.success(), "{output:?}");
}

/// No descriptor for the clock: alarms look again by themselves.
#[test]
fn f29_without_anybody_who_tells() {
    let output = subprocess("wall_clock::f29_without_anybody_who_tells", || {
        use fibers::fault::{Call, Fault, inject};
        inject(Call::Timerfd, Fault::always(libc::EMFILE));
        runtime(1).run(|| {
            let moment = SystemTime::now() + AN_HOUR;
            let waiting = fibers::spawn(move || alarm::at(moment));
            fibers::yield_now();
            shift_wall_clock(3600);
            waiting.join().unwrap();
        });
    });
    assert!(output.status.success(), "{output:?}");
}

/// A moment taken apart, without cleverness: years and months are counted off one by one.
fn apart(seconds: i64) -> [i64; 6] {
    let (mut days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let weekday = (days + 3).rem_euclid(7);
    let is_leap = |year: i64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let mut year = 1970;
    while days < 0 {
        year -= 1;
        days += 365 + i64::from(is_leap(year));
    }
    while days >= 365 + i64::from(is_leap(year)) {
        days -= 365 + i64::from(is_leap(year));
        year += 1;
    }
    let lengths = [31, 28 + i64::from(is_leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 0;
    while days >= lengths[month] {
        days -= lengths[month];
        month += 1;
    }
    [
        second % 60,
        second / 60 % 60,
        second / 3600,
        weekday,
        days + 1,
        month as i64 + 1,
    ]
}

/// What a user has said: seconds, minutes, hours, weekdays, days of the month, months.
type Said = [Vec<u8>; 6];

fn rule_of(said: &Said, offset: i32) -> Rule {
    const WEEKDAYS: [Weekday; 7] = [
        Weekday::Monday,
        Weekday::Tuesday,
        Weekday::Wednesday,
        Weekday::Thursday,
        Weekday::Friday,
        Weekday::Saturday,
        Weekday::Sunday,
    ];
    let [seconds, minutes, hours, weekdays, month_days, months] = said.clone();
    Rule::new()
        .seconds(seconds)
        .minutes(minutes)
        .hours(hours)
        .weekdays(weekdays.into_iter().map(|day| WEEKDAYS[usize::from(day)]))
        .month_days(month_days)
        .months(months)
        .utc_offset(offset)
}

/// Whether a rule means this second, by the words of its documentation.
fn means(said: &Said, offset: i32, seconds: i64) -> bool {
    let fields = apart(seconds + i64::from(offset) * 60);
    // For each field: the first value, and whether anything coarser has been said.
    let any = |fields: &[usize]| fields.iter().any(|field| !said[*field].is_empty());
    let at_beginning = [
        any(&[1, 2, 3, 4, 5]).then_some(0),
        any(&[2, 3, 4, 5]).then_some(0),
        any(&[3, 4, 5]).then_some(0),
        None,
        (any(&[5]) && !any(&[3])).then_some(1),
        None,
    ];
    (0..6).all(|field| match (&said[field][..], at_beginning[field]) {
        ([], None) => true,
        ([], Some(first)) => fields[field] == first,
        (values, _) => values.iter().any(|value| i64::from(*value) == fields[field]),
    })
}

fn at(seconds: i64) -> SystemTime {
    match seconds < 0 {
        true => UNIX_EPOCH - Duration::from_secs(seconds.unsigned_abs()),
        false => UNIX_EPOCH + Duration::from_secs(seconds.unsigned_abs()),
    }
}

fn some_of(range: std::ops::Range<u8>) -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![Just(Vec::new()), prop::collection::vec(range, 1..4)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(rounds(100, 5_000) as u32))]

    /// What is found is meant, and nothing before it is, as far as a naive search has the patience to look.
    #[test]
    fn the_next_moment_is_the_first_one(
        said in (some_of(0..60), some_of(0..60), some_of(0..24), some_of(0..7), some_of(1..32), some_of(1..13)),
        offset in -1439..1440,
        from in -2_500_000_000_i64..4_500_000_000,
        nanos in 0..1_000_000_000_u64,
    ) {
        let said: Said = [said.0, said.1, said.2, said.3, said.4, said.5];
        let next = rule_of(&said, offset).next_after(at(from) + Duration::from_nanos(nanos));
        let naive = (from + 1..from + 1_000).find(|second| means(&said, offset, *second));
        match naive {
            Some(second) => prop_assert_eq!(next, Some(at(second))),
            None => {
                // Too far for that search: steps of a minute or an hour, where nothing finer has been said, go further.
                let fine = !said[0].is_empty();
                let step = if fine { 1 } else if said[1].is_empty() { 900 } else { 60 };
                let first = (from + 1).div_euclid(step) * step + step;
                let naive = (0..2_000).map(|n| first + n * step).find(|second| means(&said, offset, *second));
                if let Some(naive) = naive
                    && !fine
                {
                    prop_assert_eq!(next, Some(at(naive)));
                }
                if let Some(next) = next {
                    let found = match next.duration_since(UNIX_EPOCH) {
                        Ok(after) => after.as_secs() as i64,
                        Err(before) => -(before.duration().as_secs() as i64),
                    };
                    prop_assert!(found > from);
                    prop_assert!(means(&said, offset, found));
                }
            }
        }
    }
}
