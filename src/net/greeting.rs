//! The hello on a stream of bytes: what is read is bounded before it is read. Nothing here limits
//! the time; the callers do.

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::fault::Fault;
use crate::wire::hello::PREFIX;
use crate::wire::{Hello, HelloAnswer, HelloError, Refusal};

/// Says `hello` to whom we dialled and reads what it answers.
pub async fn ask<S>(stream: &mut S, hello: &Hello) -> Result<Hello, Fault>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    stream.write_all(&hello.encode()?).await?;
    stream.flush().await?;
    match HelloAnswer::decode(&read(stream, HelloAnswer::rest).await?)? {
        HelloAnswer::Hello(hello) => Ok(*hello),
        HelloAnswer::Refusal(refusal) => Err(Fault::RefusedBy(refusal)),
    }
}

/// Reads the hello of who dialled us.
pub async fn hear<S: AsyncRead + Unpin>(stream: &mut S) -> Result<Hello, Fault> {
    Ok(Hello::decode(&read(stream, Hello::rest).await?)?)
}

/// Answers with our hello.
pub async fn welcome<S: AsyncWrite + Unpin>(stream: &mut S, hello: Hello) -> Result<(), Fault> {
    answer(stream, &HelloAnswer::Hello(Box::new(hello))).await
}

/// Answers with a refusal. Nothing may follow.
pub async fn refuse<S: AsyncWrite + Unpin>(stream: &mut S, why: Refusal) -> Result<(), Fault> {
    answer(stream, &HelloAnswer::Refusal(why)).await?;
    Ok(stream.shutdown().await?)
}

async fn answer<S: AsyncWrite + Unpin>(stream: &mut S, answer: &HelloAnswer) -> Result<(), Fault> {
    stream.write_all(&answer.encode()?).await?;
    Ok(stream.flush().await?)
}

type Rest = fn(&[u8; PREFIX]) -> Result<usize, HelloError>;

async fn read<S: AsyncRead + Unpin>(stream: &mut S, rest: Rest) -> Result<Vec<u8>, Fault> {
    let mut prefix = [0; PREFIX];
    stream.read_exact(&mut prefix).await?;
    let mut bytes = vec![0; PREFIX + rest(&prefix)?];
    bytes[..PREFIX].copy_from_slice(&prefix);
    stream.read_exact(&mut bytes[PREFIX..]).await?;
    Ok(bytes)
}
