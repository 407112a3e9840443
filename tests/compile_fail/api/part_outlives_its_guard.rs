use fibers::sync::Mutex;

fn main() {
    let mutex = Mutex::new(String::from("text"));
    let text: &str = mutex.lock().as_str();
    println!("{text}");
}
