#!/usr/bin/perl
# SPDX-License-Identifier: GPL-2.0
# Make a commit of each patch, the new files that it names included; for
# commit-series.sh.
#
#   ls-of-patches | make-steps.pl ROOT PATCHES
#
# Patches come on stdin, one a line, as paths below PATCHES; new files are below
# ROOT. The repository is $GIT_DIR, and the first commit's parent its branch "base".
# Prints the id of the last commit.
#
# A step's key is a hash of what it and all steps before it are made of. steps/KEY
# in the repository is its commit: only what comes behind a change is made again.
# The index holds no more than the files that are touched, and fast-import puts
# the rest around them, as git is slow with an index of the whole kernel.

use strict;
use warnings;
use Digest::SHA qw(sha256_hex);
use File::Temp qw(tempdir);

my ($root, $patches) = @ARGV;
my $git_dir = $ENV{GIT_DIR};
my $tmp = tempdir(CLEANUP => 1);
my $date = `date -d "$ENV{GIT_COMMITTER_DATE}" "+%s +0000"`;
chomp $date;
$ENV{GIT_INDEX_FILE} = "$tmp/index";

sub fail { print STDERR "error: @_\n"; exit 1; }

sub slurp {
	my ($file) = @_;
	open(my $in, '<:raw', $file) or fail("$file: $!");
	local $/;
	return scalar <$in>;
}

sub spew {
	my ($file, @what) = @_;
	open(my $out, '>:raw', $file) or fail("$file: $!");
	print $out @what;
	close($out) or fail("$file: $!");
}

# Run git with input from a string; its output, by lines.
sub git {
	my ($input, @args) = @_;
	spew("$tmp/in", $input);
	my $command = join(' ', 'git', @args);
	my $output = `$command <$tmp/in 2>$tmp/why`;
	fail("$command: " . slurp("$tmp/why")) if $?;
	return split(/\n/, $output);
}

# As git stripspace.
sub tidy {
	my ($text) = @_;
	$text =~ s/[ \t\r]+$//mg;
	$text =~ s/\n{3,}/\n\n/g;
	$text =~ s/^\n+//;
	$text =~ s/\n*$/\n/;
	return $text;
}

sub read_step {
	my ($name) = @_;
	my $all = slurp("$patches/$name");
	my ($head, $rest) = split(/\n\n/, $all, 2);
	my ($body, $diff) = split(/^---\n/m, $rest // '', 2);
	my ($author) = $head =~ /^From: (.+ <.*>)$/m;
	my ($subject) = $head =~ /^Subject: (.+)$/m;
	my ($new) = $head =~ /^New-files:((?:.*\n?)(?:[ \t].*\n?)*)/m;
	my @new = split(' ', $new // '');

	fail("$name: From or Subject is missing")
		unless defined $author && defined $subject;
	$diff //= '';
	return {
		name => $name, author => $author, new => \@new, diff => $diff,
		message => tidy("$subject\n\n$body"),
		edited => [ $diff =~ m,^diff --git a/(.*) b/,mg ],
		made_of => join("\0", $all, map {
			($_, mode("$root/$_"), slurp("$root/$_")) } @new),
	};
}

sub mode { return -x $_[0] ? '100755' : '100644'; }

# How many of the steps are known, and the last one's commit.
sub known_steps {
	my ($tip, @steps) = @_;
	my $n = 0;

	for my $step (@steps) {
		my $file = "$git_dir/steps/$step->{key}";
		last unless -s $file;
		chomp(my $id = slurp($file));
		last if system("git cat-file -e $id 2>/dev/null");
		$tip = $id;
		$n++;
	}
	return ($n, $tip);
}

# The index as it is at $tip, for what the steps touch.
sub read_touched {
	my ($tip, @steps) = @_;
	my %touched = map { $_ => 1 } map { (@{$_->{new}}, @{$_->{edited}}) } @steps;

	spew("$tmp/touched", join("\0", sort keys %touched), "\0");
	my $entries = `xargs -0 git --literal-pathspecs ls-tree -r --full-tree $tip -- <$tmp/touched`;
	fail("ls-tree $tip") if $?;
	git($entries, 'update-index --add --index-info');
}

# Blob ids of all new files, by path.
sub hash_new_files {
	my @files = map { @{$_->{new}} } @_;
	return () unless @files;
	my @ids = git(join('', map { "$root/$_\n" } @files),
		      'hash-object -w --no-filters --stdin-paths');
	my %blob;
	@blob{@files} = @ids;
	return %blob;
}

# Apply a step's diff; its changes, as lines for fast-import.
sub apply {
	my ($step) = @_;
	return '' unless @{$step->{edited}};
	spew("$tmp/diff", $step->{diff});
	system("git apply --cached --whitespace=nowarn $tmp/diff 2>$tmp/why") == 0 or
		fail("$step->{name} does not apply: " . slurp("$tmp/why"));
	spew("$tmp/edited", join("\0", @{$step->{edited}}), "\0");
	my %deleted = map { $_ => 1 } @{$step->{edited}};
	my $lines = '';
	for (split(/\n/, `xargs -0 git --literal-pathspecs ls-files -s -- <$tmp/edited`)) {
		my ($mode, $id, $path) = /^(\d+) ([0-9a-f]+) 0\t(.*)$/ or
			fail("$step->{name}: $_");
		$lines .= "M $mode $id $path\n";
		delete $deleted{$path};
	}
	return $lines . join('', map { "D $_\n" } sort keys %deleted);
}

sub add_new_files {
	my ($step, $blob) = @_;
	my @files = @{$step->{new}};
	return '' unless @files;
	git(join('', map { mode("$root/$_") . " $blob->{$_}\t$_\n" } @files),
	    'update-index --add --index-info');
	return join('', map { 'M ' . mode("$root/$_") . " $blob->{$_} $_\n" } @files);
}

sub commit {
	my ($n, $step, $parent, $changes) = @_;
	return "commit refs/steps/$$\nmark :$n\n" .
		"author $step->{author} $date\n" .
		"committer $ENV{GIT_COMMITTER_NAME} <$ENV{GIT_COMMITTER_EMAIL}> $date\n" .
		'data ' . length($step->{message}) . "\n$step->{message}" .
		"from $parent\n$changes\n";
}

chomp(my @names = <STDIN>);
my @steps = map { read_step($_) } @names;
my ($tip) = git('', 'rev-parse base');
my $key = $tip . sha256_hex(slurp($0));
$_->{key} = $key = sha256_hex($key . $_->{made_of}) for @steps;

(my $known, $tip) = known_steps($tip, @steps);
my @todo = @steps[$known .. $#steps];
if (@todo) {
	read_touched($tip, @todo);
	my %blob = hash_new_files(@todo);
	my $stream = '';
	my $n = 0;
	for my $step (@todo) {
		my $parent = $n ? ":$n" : $tip;
		my $changes = apply($step) . add_new_files($step, \%blob);
		$stream .= commit(++$n, $step, $parent, $changes);
	}
	git($stream, "fast-import --quiet --export-marks=$tmp/marks");
	git('', "update-ref -d refs/steps/$$");
	my %id = map { /^:(\d+) (\w+)/ ? ($1, $2) : () } split(/\n/, slurp("$tmp/marks"));
	mkdir("$git_dir/steps");
	for (1 .. $n) {
		my $file = "$git_dir/steps/$todo[$_ - 1]{key}";
		spew("$file.$$", "$id{$_}\n");
		rename("$file.$$", $file) or fail("$file: $!");
	}
	$tip = $id{$n};
}
print "$tip\n";
