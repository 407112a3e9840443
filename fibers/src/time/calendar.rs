//! Rules of the calendar, such as "at 06:30 on weekdays": purely computed, from one moment to the next.
//!
//! In UTC, or at a fixed distance from it. There is no database of time zones here, so no daylight saving time either; and no leap
//! seconds, which the system's time does not have. The calendar is the Gregorian one, also before it was introduced.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A day of the week.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Weekday {
    Monday,
    Tuesday,
    Wednesday,
    Thursday,
    Friday,
    Saturday,
    Sunday,
}

/// Which moments are meant: those at which everything that has been said is true.
///
/// What is said in several steps of one unit is an alternative: `.hour(6).hour(18)` is both. Of what nothing is said, units that are
/// coarser than the finest one said may be anything, and those finer than the coarsest one said are at their beginning:
/// `hour(6)` is 06:00:00 of each day, `minute(30)` each hour at half past, `month(4)` the first of April at midnight,
/// `weekday(Monday)` Mondays at midnight. A weekday and a day of the month have both to be right ("Friday the 13th"). A rule of which
/// nothing is said is each full second.
///
/// ```
/// use fibers::time::alarm::{Rule, Weekday};
/// use std::time::{Duration, UNIX_EPOCH};
///
/// let workdays = Rule::new().hour(6).minute(30).weekdays([Weekday::Monday, Weekday::Friday]);
/// let thursday = UNIX_EPOCH; // the 1st of January 1970
/// let friday = UNIX_EPOCH + Duration::from_secs(86_400 + 6 * 3600 + 30 * 60);
/// assert_eq!(workdays.next_after(thursday), Some(friday));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[must_use = "a rule does nothing by itself"]
pub struct Rule {
    // Bit n: the number n is meant. No bit: nothing has been said.
    seconds: u64,
    minutes: u64,
    hours: u64,
    /// From Monday, which is 0.
    weekdays: u64,
    month_days: u64,
    months: u64,
    /// Seconds east of UTC.
    offset: i32,
}

/// A setter for one value, and one for several.
macro_rules! units {
    ($($one:ident $many:ident $range:expr, $what:literal;)+) => {
        impl Rule {$(
            #[doc = concat!("At ", $what, ".")]
            ///
            /// # Panics
            /// If there is no such one.
            #[track_caller]
            pub fn $one(self, $one: u8) -> Rule {
                self.$many([$one])
            }

            #[doc = concat!("At several: ", $what, ".")]
            ///
            /// # Panics
            /// If there is no such one.
            #[track_caller]
            pub fn $many(mut self, $many: impl IntoIterator<Item = u8>) -> Rule {
                for number in $many {
                    assert!($range.contains(&number), concat!("there is no ", stringify!($one), " {}: it is ", $what), number);
                    self.$many |= 1 << number;
                }
                self
            }
        )+}
    };
}

units! {
    second seconds (0..=59), "a second, from 0 to 59";
    minute minutes (0..=59), "a minute, from 0 to 59";
    hour hours (0..=23), "an hour, from 0 to 23";
    month_day month_days (1..=31), "a day of the month, from 1 to 31";
    month months (1..=12), "a month, from 1 to 12";
}

impl Rule {
    /// Each second, in UTC.
    pub fn new() -> Rule {
        Rule::default()
    }

    /// On a day of the week.
    pub fn weekday(self, weekday: Weekday) -> Rule {
        self.weekdays([weekday])
    }

    /// On several days of the week.
    pub fn weekdays(mut self, weekdays: impl IntoIterator<Item = Weekday>) -> Rule {
        for weekday in weekdays {
            self.weekdays |= 1 << weekday as u8;
        }
        self
    }

    /// The rule is for clocks that are so many minutes ahead of UTC (negative: behind it), for ever.
    ///
    /// ```
    /// use fibers::time::alarm::Rule;
    /// use std::time::{Duration, UNIX_EPOCH};
    /// let noon_in_kathmandu = Rule::new().hour(12).utc_offset(5 * 60 + 45);
    /// assert_eq!(noon_in_kathmandu.next_after(UNIX_EPOCH), Some(UNIX_EPOCH + Duration::from_secs(6 * 3600 + 15 * 60)));
    /// ```
    ///
    /// # Panics
    /// If it is a day or more.
    #[track_caller]
    pub fn utc_offset(mut self, minutes: i32) -> Rule {
        assert!(
            minutes.unsigned_abs() < 24 * 60,
            "no clock is {minutes} minutes away from UTC"
        );
        self.offset = minutes * 60;
        self
    }

    /// The first moment of the rule after `moment`, that one excluded. `None`: there is none (the 30th of February), or none
    /// that the type can hold.
    pub fn next_after(&self, moment: SystemTime) -> Option<SystemTime> {
        let local = floor_seconds(moment)?.checked_add(1)?.checked_add(self.offset.into())?;
        let (today, second) = (local.div_euclid(DAY), local.rem_euclid(DAY));
        let rule = self.complete();
        // The calendar repeats after 400 years, weekdays included: what does not come by then never will.
        let later = (1..=DAYS_OF_400_YEARS).map(|days| (today + days, 0));
        let (day, time) = std::iter::once((today, second)).chain(later).find_map(|(day, from)| {
            let time = rule.is_on(day).then(|| rule.time_of_day(from))??;
            Some((day, time))
        })?;
        // The first and the last day that the type can hold are not whole.
        let found = i128::from(day) * i128::from(DAY) + i128::from(time) - i128::from(self.offset);
        at_seconds(i64::try_from(found).ok()?)
    }

    /// The same rule, with everything said.
    fn complete(self) -> Rule {
        let first = |said: u64, coarser: bool, first: u64| match (said, coarser) {
            (0, true) => 1 << first,
            (0, false) => u64::MAX,
            _ => said,
        };
        let month = self.months != 0;
        let day = month || self.month_days != 0 || self.weekdays != 0;
        let hour = day || self.hours != 0;
        let minute = hour || self.minutes != 0;
        Rule {
            seconds: first(self.seconds, minute, 0),
            minutes: first(self.minutes, hour, 0),
            hours: first(self.hours, day, 0),
            weekdays: first(self.weekdays, false, 0),
            month_days: first(self.month_days, month && self.weekdays == 0, 1),
            months: first(self.months, false, 1),
            offset: self.offset,
        }
    }

    /// Whether a complete rule is for this day, counted from 1970.
    fn is_on(&self, day: i64) -> bool {
        let (month, month_day) = date(day);
        has(self.weekdays, weekday(day)) && has(self.months, month) && has(self.month_days, month_day)
    }

    /// The first second of the day from `from` on that a complete rule is for.
    fn time_of_day(&self, from: i64) -> Option<i64> {
        let (hour, minute, second) = (from / 3600, from / 60 % 60, from % 60);
        (hour..24).filter(|h| has(self.hours, *h)).find_map(|h| {
            let minute = if h == hour { minute } else { 0 };
            (minute..60).filter(|m| has(self.minutes, *m)).find_map(|m| {
                let second = if h * 60 + m == from / 60 { second } else { 0 };
                let s = (second..60).find(|s| has(self.seconds, *s))?;
                Some(h * 3600 + m * 60 + s)
            })
        })
    }
}

const DAY: i64 = 86_400;
const DAYS_OF_400_YEARS: i64 = 146_097;

fn has(set: u64, number: i64) -> bool {
    set >> number & 1 == 1
}

/// 0 is Monday. Day 0, the 1st of January 1970, was a Thursday.
fn weekday(day: i64) -> i64 {
    (day + 3).rem_euclid(7)
}

/// Month and day of the month of a day counted from 1970. (Hinnant, "chrono-compatible low-level date algorithms", `civil_from_days`:
/// years begin in March there, so that the leap day is the last one.)
fn date(day: i64) -> (i64, i64) {
    let day_of_era = (day + 719_468).rem_euclid(DAYS_OF_400_YEARS);
    let year = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * day_of_year + 2) / 153;
    let month_day = day_of_year - (153 * month + 2) / 5 + 1;
    (if month < 10 { month + 3 } else { month - 9 }, month_day)
}

/// Whole seconds from 1970 on, rounded down.
fn floor_seconds(moment: SystemTime) -> Option<i64> {
    match moment.duration_since(UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_secs()).ok(),
        Err(before) => {
            let before = before.duration();
            let seconds = i64::try_from(before.as_secs()).ok()?;
            seconds.checked_neg()?.checked_sub(i64::from(before.subsec_nanos() > 0))
        }
    }
}

fn at_seconds(seconds: i64) -> Option<SystemTime> {
    let distance = Duration::from_secs(seconds.unsigned_abs());
    match seconds < 0 {
        true => UNIX_EPOCH.checked_sub(distance),
        false => UNIX_EPOCH.checked_add(distance),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> SystemTime {
        at_seconds(seconds).unwrap()
    }

    #[test]
    fn dates_of_four_centuries_follow_each_other() {
        let is_leap = |year: i64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let (mut year, mut month, mut month_day) = (1970, 1, 1);
        for day in 0..DAYS_OF_400_YEARS {
            assert_eq!(date(day), (month, month_day), "in {year}");
            assert_eq!(date(day - DAYS_OF_400_YEARS), (month, month_day), "400 years before {year}");
            let length = match month {
                2 if is_leap(year) => 29,
                2 => 28,
                4 | 6 | 9 | 11 => 30,
                _ => 31,
            };
            month_day += 1;
            if month_day > length {
                (month, month_day) = (month + 1, 1);
            }
            if month > 12 {
                (year, month) = (year + 1, 1);
            }
        }
        assert_eq!((year, month, month_day), (2370, 1, 1));
        assert_eq!(weekday(DAYS_OF_400_YEARS), weekday(0));
    }

    #[test]
    fn what_is_not_said() {
        let after = at(1_000_000_000); // 2001-09-09 01:46:40, a Sunday
        let next = |rule: Rule| floor_seconds(rule.next_after(after).unwrap()).unwrap() - 1_000_000_000;
        assert_eq!(next(Rule::new()), 1);
        assert_eq!(next(Rule::new().second(40)), 60);
        assert_eq!(next(Rule::new().minute(46)), 3600 - 40);
        assert_eq!(next(Rule::new().minute(47)), 20);
        assert_eq!(next(Rule::new().hour(1)), DAY - 46 * 60 - 40);
        assert_eq!(next(Rule::new().hour(1).minute(47).second(1)), 21);
        let midnight = DAY - 3600 - 46 * 60 - 40;
        assert_eq!(next(Rule::new().weekday(Weekday::Monday)), midnight);
        assert_eq!(next(Rule::new().weekday(Weekday::Sunday)), midnight + 6 * DAY);
        assert_eq!(next(Rule::new().month_day(12)), midnight + 2 * DAY);
        assert_eq!(next(Rule::new().month(10)), midnight + 21 * DAY);
        // The first Friday, not the first day, of October.
        assert_eq!(next(Rule::new().month(10).weekday(Weekday::Friday)), midnight + 25 * DAY);
        // Friday the 13th of September 2002.
        let friday = Rule::new().weekday(Weekday::Friday).month_day(13);
        assert_eq!(next(friday.month(9)), midnight + 368 * DAY);
    }

    #[test]
    fn what_hardly_ever_or_never_comes() {
        let never = Rule::new().month(2).month_day(30);
        assert_eq!(never.next_after(UNIX_EPOCH), None);
        let leap_day = Rule::new().month(2).month_day(29);
        // From 1896 to 1904 there was none.
        let march_1896 = at((-26_969 + 1) * DAY + 1);
        assert_eq!(date(-26_969), (2, 29));
        assert_eq!(leap_day.next_after(march_1896), Some(at(-24_048 * DAY)));
        assert_eq!(date(-24_048), (2, 29));
    }

    #[test]
    fn fractions_and_times_before_1970() {
        let each = Rule::new();
        assert_eq!(each.next_after(UNIX_EPOCH + Duration::from_millis(999)), Some(at(1)));
        assert_eq!(each.next_after(at(5)), Some(at(6)));
        assert_eq!(each.next_after(UNIX_EPOCH - Duration::from_millis(1)), Some(at(0)));
        assert_eq!(each.next_after(UNIX_EPOCH - Duration::from_millis(1001)), Some(at(-1)));
        assert_eq!(each.next_after(at(-5)), Some(at(-4)));
        let end = at(i64::MAX - 1);
        assert_eq!(Rule::new().hour(3).utc_offset(600).next_after(end), None);
        assert_eq!(Rule::new().hour(3).next_after(end), None, "on the day after, which is none");
        assert_eq!(Rule::new().second(59).next_after(end), None, "later on the last day");
        assert_eq!(Rule::new().second(59).utc_offset(-60).next_after(end), None, "so much later");
    }
}
